"""Batches by Ray Data: a pool of workers with the model, each of which writes drafts; this process makes them parts.

A draft is no part until this process, which alone has the folder open, gives it its name. So nothing is there twice,
whoever was killed and whatever Ray does again for it. Why Ray Data, and not Ray's plain actors: it starts, replaces and
fills the pool, here and on a cluster that grows.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from moganet.batch.boxes import FileBoxes
from moganet.batch.ray_worker import Block, Done, Job, Worker, pack, unpack
from moganet.batch.rows import SECONDS
from moganet.data.contents import ImageFile
from moganet.data.shards_read import by_themselves
from moganet.errors import ConfigError, WorkerError
from moganet.inference.file_stream import BATCH
from moganet.machine import num_cores
from moganet.notices import say
from moganet.numbers import count
from moganet.progress import Progress
from moganet.ray_cluster import connected

RETRIES = 2  # of a block whose worker died, by Ray; then it is done again in smaller ones
TURNS = 4  # blocks for each worker at least, where there are so many images, so that all end at about the same time
RESULTS = 1 << 20  # bytes of a block of Ray's, of which room is kept for results that are much smaller
IDLE = 1800.0  # seconds without a sign of life of any worker after which Ray gives up


@dataclass(frozen=True)
class Pool:
    """address: as in `connected`. workers: how many; None is as many as there is room for. threads: of each.

    most: images of a block. on_gpus: each has one.
    """

    address: str | None
    workers: int | None
    threads: int
    most: int
    on_gpus: bool


def answer_by_ray(
    job: Job, files: Sequence[ImageFile], boxes: FileBoxes, pool: Pool, progress: Progress
) -> Generator[Done, None, None]:
    """Give what becomes of blocks of all files, as they are done. Raises WorkerError for files at which workers die."""
    with connected(pool.address, max(num_cores(), (pool.workers or 1) * pool.threads)) as ray:
        workers = _room(ray, pool)
        batch = job.how.batch_size or BATCH
        size = max(batch, _whole(min(pool.most, -(-len(files) // (workers * TURNS))), batch))
        left = list(files)
        while left:
            some = [left[start : start + size] for start in range(0, len(left), size)]
            blocks = [pack(Block(by_themselves(one), boxes.only(one))) for one in some]
            ended = dict[int, Done]()
            results = _run(ray, blocks, job, replace(pool, workers=min(workers, len(blocks))))
            for place, done in progress(results, len(blocks), "predict"):
                ended[place] = done
                yield done
            left = [
                file
                for place, one in enumerate(some)
                for file in (one if place not in ended else [one[i] for i in ended[place].left])
            ]
            if len(ended) == len(blocks):
                size = _lasting(list(ended.values()), pool.most, batch)
            elif size == 1:
                raise WorkerError(_died(left))
            else:  # that which kills workers is found in smaller blocks, and the others are done
                size = batch if size > batch else 1


def _whole(number: int, batch: int) -> int:
    """Give a number of images as a whole number of batches, which are then those of other engines."""
    return -(-number // batch) * batch


def _lasting(ended: Sequence[Done], most: int, batch: int) -> int:
    """Give the images of a block that takes half the time that it may, as long as the slowest of those that ended."""
    slowest = max(done.seconds / max(1, done.number) for done in ended)
    fitting = int(SECONDS / 2 / slowest) // batch * batch if slowest else most
    return max(batch, min(most, fitting))


def _died(left: Sequence[ImageFile]) -> str:
    few = ", ".join(str(file) for file in left[:3]) + (", …" if len(left) > 3 else "")
    what = f"{count(len(left), 'image')} not done: the process that answers for it died each time ({few})"
    remedy = "leave them out if they are broken, or give workers more memory, and begin again"
    return f"{what}; {remedy}: the rest is written"


def _room(ray: Any, pool: Pool) -> int:
    """Give the number of workers for which a cluster has room. Raises ConfigError where there is none for any."""
    kind, each = ("GPU", 1) if pool.on_gpus else ("CPU", pool.threads)
    nodes = [node["Resources"].get(kind, 0) for node in ray.nodes() if node["Alive"]]
    room = sum(int(number) // each for number in nodes)
    if not room:
        what = f"no machine of the cluster has {count(each, kind)} for a worker"
        raise ConfigError(f"{what}; give fewer --threads, or another cluster")
    if ray.available_resources().get(kind, 0) < each:
        say(f"all {kind}s of the cluster are in use; waiting until another's work ends (`ray status` tells)")
    if pool.workers is not None and pool.workers > room:
        say(f"the cluster has room for {room} of {count(pool.workers, 'worker')}")
    return min(room, pool.workers or room)


def _run(ray: Any, blocks: Sequence[bytes], job: Job, pool: Pool) -> Iterator[tuple[int, Done]]:
    """Give what became of blocks, by their places, as they end; one whose worker died each time is left out."""
    with _settings(ray.data.DataContext.get_current()):
        rows = [{"place": place, "block": block} for place, block in enumerate(blocks)]
        results = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            Worker,
            fn_constructor_args=(job,),
            compute=ray.data.ActorPoolStrategy(size=pool.workers),
            num_cpus=1 if pool.on_gpus else pool.threads,
            num_gpus=1 if pool.on_gpus else 0,
            max_restarts=-1,
            max_task_retries=RETRIES,
        )
        for some in results.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"):
            for row in some.to_pylist():
                for text, doubtful in (done := unpack(row["given"])).said:
                    say(text, doubtful=doubtful)
                yield row["place"], done


@contextmanager
def _settings(context: Any) -> Iterator[None]:
    """Let Ray Data be quiet, and go on past blocks whose worker died: a worker's own errors come as results."""
    wanted: dict[str, Any] = {"enable_progress_bars": False, "print_on_execution_start": False}
    wanted |= {"max_errored_blocks": -1, "target_max_block_size": RESULTS, "execution_no_progress_timeout_s": IDLE}
    before = {name: getattr(context, name, None) for name in wanted}
    for name, value in wanted.items():
        setattr(context, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)
