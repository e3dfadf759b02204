"""Who started this process, and beside how many others: what torchrun, SLURM and Lightning say in the environment."""

import os

from moganet.compat import is_being_started
from moganet.errors import ConfigError
from moganet.notices import say

# Whole numbers from 0 on. Lightning reads the first four as it is imported.
NUMBERS = (
    *("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK"),
    *("GROUP_RANK", "MASTER_PORT", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_NNODES", "SLURM_LOCALID"),
    *("SLURM_NODEID", "SLURM_JOB_ID"),
)
STEP = ("SLURM_STEP_ID", "SLURM_STEPID", "SLURM_SRUN_COMM_HOST", "SLURM_STEP_NUM_TASKS")  # srun sets them, sbatch not
ALONE = "to train alone, start it with SLURM_JOB_NAME=bash in the environment"


def check_environment() -> None:
    """Raise ConfigError for a variable of a launcher that is no number; Lightning would end in a traceback."""
    for name in NUMBERS:
        text = os.environ.get(name)
        if text is not None and not (text.isascii() and text.isdigit() and len(text) < 10):
            raise ConfigError(
                f"{name} is {text!r} in the environment, where a launcher (torchrun, srun) puts a whole number; "
                f"unset {name}, or start this with the launcher"
            )


def launched() -> tuple[int, int] | None:
    """Give what torchrun or SLURM started: processes on each machine, and machines; ConfigError for half a job."""
    check_environment()
    if by_torchrun():
        local, world = _needed("LOCAL_WORLD_SIZE"), _needed("WORLD_SIZE")
        for name, bound in (("RANK", world), ("LOCAL_RANK", local)):
            if _needed(name) >= bound:
                raise ConfigError(f"{name} is {os.environ[name]} of {bound} processes; start this with torchrun")
        if not local or world % local:
            raise ConfigError(f"WORLD_SIZE {world} is no multiple of LOCAL_WORLD_SIZE {local}; start it with torchrun")
        return local, world // local
    if by_slurm():
        nodes = int(os.environ.get("SLURM_NNODES", 1)) or 1
        tasks = int(os.environ.get("SLURM_NTASKS_PER_NODE") or int(os.environ["SLURM_NTASKS"]) // nodes)
        return max(1, tasks), nodes
    for name in ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"):
        if (number := os.environ.get(name, "")).isdecimal() and int(number) > 1 and "LOCAL_RANK" not in os.environ:
            say(
                f"{name} is {number} in the environment, but neither torchrun nor srun started this process: it is not "
                "heeded, and without trainer.devices this trains alone; start all of them with torchrun",
                doubtful=True,
            )
    return None


def refuse_without_srun() -> None:
    """Raise ConfigError where SLURM gave several tasks to a job of which srun started none: the others never come."""
    check_environment()
    if by_torchrun() or not by_slurm() or any(name in os.environ for name in STEP):
        return
    tasks = int(os.environ["SLURM_NTASKS"])
    if tasks > 1:
        raise ConfigError(
            f"this job has {tasks} tasks (SLURM_NTASKS), but srun did not start this process, so that the others would "
            f"be waited for; start it with `srun moganet train …` and --ntasks-per-node, or, {ALONE}"
        )


def by_torchrun() -> bool:
    """Tell whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def by_slurm() -> bool:
    """Tell whether SLURM started this process (an interactive shell of a job is no such process), as Lightning does."""
    return "SLURM_NTASKS" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")


def _needed(name: str) -> int:
    if name not in os.environ:
        raise ConfigError(f"{name} is not in the environment, where torchrun puts it; start this with torchrun")
    return int(os.environ[name])


def refuse_to_begin_again() -> None:
    """Raise ConfigError in a process that only reads the main script again, to be one that reads images."""
    if is_being_started():
        what = "processes that read images are started afresh here (spawn) and read this script again"
        raise ConfigError(f'{what}; put what it does under `if __name__ == "__main__":`')


def is_first_launched() -> bool:
    """Tell whether this is the first of the processes that were started together, or alone, as Lightning does."""
    ranks = (os.environ.get(name) for name in NUMBERS[:4])
    return not int(next((rank for rank in ranks if rank is not None), 0))
