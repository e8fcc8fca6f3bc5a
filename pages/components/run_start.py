"""Starting runs by a button: a double click starts them once, and neither of its clicks gets lost."""

from collections.abc import Sequence

import streamlit as st

from distill_core import runner
from distill_core.config import RunConfig
from distill_core.errors import DistillError
from distill_core.store import Store
from pages.components.run_form import config_in_form, key

REFUSED = "distill.refused"  # in the session: why the form's run was not started


class Launch:
    """What one drawn button starts; made when it is drawn, and handed to what its clicks call.

    A second click ends what the first one has called, at whatever use of the session it has come to, and calls it
    anew. So what was started is kept here and not in the session, and nothing in here uses that.
    """

    def __init__(self) -> None:
        self.runs: list[str] = []

    def submit(self, store: Store, configs: Sequence[RunConfig]) -> list[str]:
        """Queue a run for each of the settings, unless an earlier click has; return their ids."""
        for config in configs[len(self.runs) :]:
            self.runs.append(runner.submit(store, config))
        return self.runs


def start(launch: Launch) -> None:
    """Make a run of what the form holds, and look at it."""
    try:
        (run_id,) = launch.submit(Store(), [config_in_form()])
    except DistillError as error:
        st.session_state[REFUSED] = error
        return
    st.session_state[key("name")] = ""
    st.query_params["run"] = run_id
