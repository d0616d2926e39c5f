"""What happens to a worker whose GPU has failed."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from emolabel.errors import breaks_process


@contextmanager
def process_ends_with_its_device() -> Iterator[None]:
    """Ends this process where an error says that its GPU context is gone: each later batch would fail as well.

    Ray starts the actor anew and gives it the same batch once more. An error that it reported would cost the batch, and
    every one that came after it.
    """
    try:
        yield
    except RuntimeError as error:
        if not breaks_process(error):
            raise
        logging.getLogger(__name__).error("this worker ends, for its GPU has failed: %s", error)
        os._exit(1)  # Ray would take an orderly exit for the end of the actor's work
