"""Starting runs from a button so that a double click starts each run once."""

import threading
from collections.abc import Sequence

import streamlit as st

from distill_core.config.run_config import RunConfig
from distill_core.errors import DistillError
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
        self.runs: list[str] = []
        self._one_by_one = threading.Lock()

    def submit(self, store: Store, configs: Sequence[RunConfig]) -> list[str]:
        """Submit a run for each config that an earlier click has not submitted; return all ids."""
        with self._one_by_one:
            for config in configs[len(self.runs) :]:
                self.runs.append(submit(store, config, read_data=False))  # the form has just read the data
            return self.runs


def start_run(launch: Launch) -> None:
    """Submit a run with the settings in the form, and show it."""
    try:
        (run_id,) = launch.submit(run_store(), [config_in_form()])
    except DistillError as error:
        st.session_state[START_ERROR] = error
        return
    st.session_state[key("name")] = ""
    st.query_params["run"] = run_id
