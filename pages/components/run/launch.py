"""Starting runs from a button so that a double click starts each run once."""

import threading
from collections.abc import Sequence

import streamlit as st

from distill_core.config.run_config import RunConfig
from distill_core.errors import DistillError, StoreError
from distill_core.runs.store import Store
from distill_core.submission import submit
from pages.components.resources import run_store
from pages.components.run.form import config_in_form, key

START_ERROR = "distill.refused"  # in the session: why the form's run was not started


class Launch:
    """The runs that one drawn button has started; created with the button and passed to its callback.

    A second click interrupts the callback of the first at its next use of the session and calls it again, possibly
    before that, in another thread. Hence the ids are kept here instead of in the session, this class never uses the
    session, and a lock makes the second call wait for the first.
    """

    def __init__(self) -> None:
        self._runs: dict[int, str] = {}  # by the config's place
        self._one_by_one = threading.Lock()

    @property
    def runs(self) -> list[str]:
        """The ids of the runs that were started, in the order of their configs."""
        return [self._runs[place] for place in sorted(self._runs)]

    def submit(
        self, store: Store, configs: Sequence[RunConfig], *, read_data: bool = True
    ) -> list[tuple[int, DistillError]]:
        """Submit a run for each config that an earlier click has not submitted; return the refused places and why.

        A refused config does not keep the others from being submitted; an error of the store does, and is raised.
        `read_data`: as for `check_run`; the data that several configs share is read once.
        """
        refused: list[tuple[int, DistillError]] = []
        sources: set[tuple[str, str]] = set()  # task and source of data already read
        with self._one_by_one:
            for place, config in enumerate(configs):
                if place in self._runs:
                    continue
                data = (config.task, config.source)
                try:
                    self._runs[place] = submit(store, config, read_data=read_data and data not in sources)
                except StoreError:
                    raise
                except DistillError as error:
                    refused.append((place, error))
                else:
                    sources.add(data)
        return refused


def start_run(launch: Launch) -> None:
    """Submit a run with the settings in the form, and show it."""
    try:
        # The form has counted the training examples; what else is wrong with the data is the run's failure.
        refused = launch.submit(run_store(), [config_in_form()], read_data=False)
    except DistillError as error:
        st.session_state[START_ERROR] = error
        return
    if refused:
        st.session_state[START_ERROR] = refused[0][1]
        return
    st.session_state[key("name")] = ""
    st.query_params["run"] = launch.runs[0]
