"""Starting runs by a button: a double click starts them once, and neither of its clicks gets lost."""

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
    """What one drawn button starts; made when it is drawn, and handed to what its clicks call.

    A second click ends what the first one has called, at the next use of the session it comes to, and calls it anew,
    in another thread and maybe before that. So what was started is kept here and not in the session, nothing in here
    uses that, and one waits for the other.
    """

    def __init__(self) -> None:
        self.runs: list[str] = []
        self._one_by_one = threading.Lock()

    def submit(self, store: Store, configs: Sequence[RunConfig]) -> list[str]:
        """Queue a run for each of the settings, unless an earlier click has; return their ids."""
        with self._one_by_one:
            for config in configs[len(self.runs) :]:
                self.runs.append(submit(store, config, read_data=False))  # the form has just read the data
            return self.runs


def start_run(launch: Launch) -> None:
    """Make a run of what the form holds, and look at it."""
    try:
        (run_id,) = launch.submit(run_store(), [config_in_form()])
    except DistillError as error:
        st.session_state[START_ERROR] = error
        return
    st.session_state[key("name")] = ""
    st.query_params["run"] = run_id
