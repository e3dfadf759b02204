"""The processes of a job, maybe on several hosts, before they train: what each brings, and that they are of one mind.

They meet at the store of their launcher: torchrun's own, else one of the first process. What would train something else
is refused there, before anything is written; and one that ends before it came there tells those that wait for it.
"""

import os
import secrets
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from moganet.errors import ConfigError, TrainingError, first_line
from moganet.files import write_text
from moganet.launchers import by_slurm, by_torchrun
from moganet.notices import say
from moganet.numbers import count
from moganet.results import Record
from moganet.training.interfaces import choose_interface

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from torch.distributed import Store  # type: ignore[attr-defined]

# What trains is imported where it is used: `train` says what begins before that.
MARK_FILE = ".hosts"  # by which others see that they look into the same folder
OWN = ("data.source", "data.workers")  # settings that may differ: the images are compared by their contents
PAUSE, REACH = 0.2, timedelta(seconds=30)  # seconds between two looks; in which a launcher's store answers
HEARD = 5.0  # seconds in which those that wait hear why a process ended, before its launcher ends the store with it

_to_meet: ContextVar[list[bool] | None] = ContextVar("to_meet", default=None)  # emptied when this process has met them


class Statement(Record):
    """What a process brings to a job.

    settings: the recipe's, by dotted names, as JSON. state: what it goes on from, None where it begins. mark: what the
    first process has written into the run's folder.
    """

    rank: int
    host: str
    folder: str
    versions: dict[str, str]
    device: str
    settings: dict[str, str]
    data: str
    fingerprint: str
    state: str | None
    mark: str = ""

    @property
    def name(self) -> str:
        return f"process {self.rank} on {self.host}"


def difference(statements: Sequence[Statement]) -> str | None:
    """Say in a line what a process would train otherwise than the first one, and the remedy; None where none would."""
    first = statements[0]
    return next((what for other in statements[1:] if (what := _unlike(first, other)) is not None), None)


def _unlike(first: Statement, other: Statement) -> str | None:
    here, there = first.name, other.name
    for package, version in first.versions.items():
        if package != "python" and version != other.versions.get(package):
            what = f"{there} has {package} {other.versions.get(package)}, {here} has {version}"
            return f"{what}; install the same on all hosts"
    if first.state != other.state:
        return _of_states(first, other)
    if first.device != other.device:
        return f"{there} would train on {other.device}, {here} on {first.device}; say --device cpu, or mend that host"
    for name in sorted({*first.settings, *other.settings} - {*OWN}):
        mine, theirs = (one.settings.get(name, "not there") for one in (first, other))
        if mine != theirs:
            how = f"start all with the same recipe and options; --set {name}=… says it where each chose for itself"
            return f"{name} is {theirs} for {there} and {mine} for {here}; {how}"
    if first.fingerprint != other.fingerprint:
        what = f"the images or classes of {other.data}, or their order, are for {there} not those for {here}"
        return f"{what}, by their contents; bring the same data set to all hosts"
    return None


def _of_states(first: Statement, other: Statement) -> str:
    how = "let all hosts see one folder, or copy it to each of them"
    if first.state is not None and other.state is not None:
        return f"{other.folder} holds another state of the run for {other.name} than for {first.name}; {how}"
    sees, lacks = (first, other) if other.state is None else (other, first)
    return f"{sees.name} goes on with the run in {sees.folder}, where {lacks.name} sees none; {how}"


@contextmanager
def met(mine: Statement, trainer: "pl.Trainer") -> Iterator[str]:
    """Meet all processes that a launcher started, and give the run's folder as the first one has it.

    Raises ConfigError where one would train something else or has ended, TrainingError where one does not come.
    """
    if trainer.world_size == 1 or not (by_torchrun() or by_slurm()):
        yield mine.folder
        return
    from torch.distributed import DistError

    mark = Path(mine.folder, MARK_FILE)
    if mine.rank == 0:
        mine = mine.changed(mark=secrets.token_hex())
        write_text(mark, mine.mark)
    try:
        try:
            store, statements = _exchanged(mine, trainer)
        except DistError as error:
            why = f"another one is gone, or a firewall lies between ({first_line(error)})"
            raise TrainingError(f"the processes of this job can't meet: {why}; start all of them again") from None
        if (what := difference(statements)) is not None:
            if trainer.node_rank == 0:  # with whose first process, or launcher, the store ends
                _await_reach(store, "read", trainer.world_size)
            raise ConfigError(what)
        _say_hosts(mine, statements, trainer)
        yield statements[0].folder
        del store  # the first process's own ends no sooner
    finally:
        if mine.rank == 0:
            with suppress(OSError):
                mark.unlink(missing_ok=True)


def _exchanged(mine: Statement, trainer: "pl.Trainer") -> tuple["Store", list[Statement]]:
    """Tell the others what this process brings, and wait for what they bring."""
    from pytorch_lightning.strategies import DDPStrategy

    from moganet.training.signals import PROCESSES_WAIT

    assert isinstance(trainer.strategy, DDPStrategy)
    environment = trainer.strategy.cluster_environment
    assert environment is not None
    address, port = environment.main_address, environment.main_port
    if mine.device == "cpu" and trainer.num_nodes > 1:
        choose_interface(address, port)
    store = _store(address, port, hosts=mine.rank == 0, wait=REACH if _has_agent() else PROCESSES_WAIT)
    store.set(f"said/{mine.rank}", mine.model_dump_json())
    store.add("here", 1)
    if (to_meet := _to_meet.get()) is not None:
        to_meet.clear()
    _await(store, trainer.world_size, PROCESSES_WAIT.total_seconds())
    said = [store.get(f"said/{rank}") for rank in range(trainer.world_size)]
    store.add("read", 1)
    return store, [_parsed(text, rank) for rank, text in enumerate(said)]


def _parsed(text: bytes, rank: int) -> Statement:
    try:
        return Statement.model_validate_json(text)
    except ValueError:  # what another version says
        what = f"process {rank} of this job has another version of moganet"
        raise ConfigError(f"{what}; install the same on all hosts") from None


def _await(store: "Store", number: int, seconds: float) -> None:
    """Wait until all are there. Raises ConfigError where one has ended, TrainingError where time is up."""
    end = time.monotonic() + seconds
    while store.add("here", 0) < number:
        if store.check(["ended"]):
            store.add("heard", 1)
            raise ConfigError(store.get("ended").decode())
        if time.monotonic() > end:
            missing = [str(rank) for rank in range(number) if not store.check([f"said/{rank}"])]
            what = f"process {', '.join(missing)} of this job did not come within {seconds:.0f} s"
            raise TrainingError(f"{what}; see what it says on its host, and start all of them again")
        time.sleep(PAUSE)


def _has_agent() -> bool:
    """Tell whether torchrun's own process has the store, as torch does."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def _store(address: str, port: int, *, hosts: bool, wait: timedelta) -> "Store":
    """Open the store at which torch's own processes meet, under names of our own. hosts: where no agent does."""
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

    begun = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    is_master = hosts and not _has_agent()
    opened = TCPStore(
        address, port, is_master=is_master, timeout=wait, wait_for_workers=False, multi_tenant=True
    )  # which torch's own shares
    return PrefixStore(f"moganet/{begun}", opened)


def _say_hosts(mine: Statement, statements: Sequence[Statement], trainer: "pl.Trainer") -> None:
    first = statements[0]
    if mine.rank == 0 and trainer.num_nodes > 1:
        hosts = ", ".join(dict.fromkeys(one.host for one in statements))
        say(f"{len(statements)} processes on {count(trainer.num_nodes, 'host')} train together: {hosts}")
    if trainer.local_rank == 0 and not any(_holds(folder, first.mark) for folder in (mine.folder, first.folder)):
        what = f"{mine.host} does not see {first.folder}, where {first.host} writes the run"
        say(f"{what}: to go on with it later, let all hosts see that folder, or copy it to each of them", doubtful=True)


def _holds(folder: str, mark: str) -> bool:
    with suppress(OSError, UnicodeDecodeError):
        return Path(folder, MARK_FILE).read_text(encoding="utf-8") == mark
    return False


@contextmanager
def ends_told() -> Iterator[None]:
    """Tell those who would wait for this process, under torchrun, what ended it before it met them."""
    to_meet = [True]
    token = _to_meet.set(to_meet)
    text = "the run is finished there, and nothing was left to do"
    try:
        yield
    except BaseException as error:
        text = str(error) or type(error).__name__
        raise
    finally:
        _to_meet.reset(token)
        if to_meet and by_torchrun() and _has_agent():
            with suppress(Exception):  # they are told that it is gone in any case
                _tell(text)


def _tell(text: str) -> None:
    address, port, world = (os.environ[name] for name in ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE"))
    if int(world) == 1:
        return
    store = _store(address, int(port), hosts=False, wait=timedelta(seconds=HEARD))
    store.set("ended", f"process {os.environ['RANK']} on {socket.gethostname()} has ended: {' '.join(text.split())}")
    store.add("heard", 1)
    if os.environ.get("GROUP_RANK") == "0":
        _await_reach(store, "heard", int(world))


def _await_reach(store: "Store", key: str, number: int) -> None:
    """Wait until a count is reached, but not for long."""
    end = time.monotonic() + HEARD
    while store.add(key, 0) < number and time.monotonic() < end:
        time.sleep(PAUSE)
