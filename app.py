"""Home: what this is, one sentence already explained, what is training now, where to go."""

import streamlit as st

from pages.components.frame import errors_shown, footer, frame, page_link

frame("Home")
st.title("Does the student see what the teacher sees?")
st.markdown(
    "A distilled model can give its teacher’s answers for reasons of its own. "
    "Distillation Lens lays the token attributions of a teacher and its students side by side and says in "
    "numbers how far they agree. It also trains new students before your eyes, by plain knowledge distillation or by "
    "AD-KD, which teaches the attributions too."
)
