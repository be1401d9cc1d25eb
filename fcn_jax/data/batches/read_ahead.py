"""Reading ahead of the one who asks, in threads or in worker processes, which end with it."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Generator
from typing import Any

import grain
import numpy as np
from absl import flags, logging


def read_ahead(
    elements: grain.MapDataset, *, start_step: int = 0, num_threads: int, num_workers: int = 0
) -> Generator[Any, None, None]:
    """Yields elements from `start_step` on, read ahead; grain's default would buffer 500 of them.

    Args:
        elements: The elements, by index.
        start_step: Index of the first one; nothing is read for those before it.
        num_threads: Number of threads that read ahead, in each worker if there are any.
        num_workers: Number of processes that read ahead; 0 reads in this one.
    """
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=max(4, num_threads))
    # A slice, not a state of the iterator: that of workers is another than that of threads.
    dataset = elements[start_step:].to_iter_dataset(options)
    if num_workers:
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # grain asks absl, which nobody here uses
        dataset = dataset.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=2),
            worker_init_fn=_begin_worker,
        )
    iterator = iter(dataset)
    try:
        for element in iterator:
            # Workers give memory that they share, and grain complains where it outlives the loader.
            yield (
                {name: np.array(array) for name, array in element.items()}
                if num_workers
                else element
            )
    finally:
        iterator.close()


def _begin_worker(worker_index: int, worker_count: int) -> None:
    """Leaves signals, which may reach every process of a job, and all talking to the parent."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.set_verbosity(logging.ERROR)  # tfds announces every data set that it opens again


def _end_with_parent() -> None:
    """Ends this worker when its parent has ended, killed perhaps, without a word to anyone."""
    multiprocessing.parent_process().join()
    os._exit(1)
