"""The mapping of a file's columns and labels to a task: guesses and checks."""

from dataclasses import replace

import pytest

from distill_core.data.column_mapping import CheckedRow, DataMapping, check_rows, guess_mapping, value_counts
from distill_core.data.tasks import TASKS
from distill_core.data.user_files import Table, read_table
from distill_core.errors import ConfigError, DataError


def table(content: str, kind: str = "csv") -> Table:
    return read_table(f"a.{kind}", content.encode())


def checked(task: str, content: str, kind: str = "csv", **changes: object) -> list[CheckedRow]:
    found = table(content, kind)
    mapping = replace(guess_mapping(TASKS[task], found), **changes)
    return check_rows(TASKS[task], found, mapping)[0]


@pytest.mark.parametrize(
    ("task", "content", "columns", "label"),
    [
        ("sst2", "sentence,label\na b,1\n", {"sentence": "sentence"}, "label"),
        ("sst2", "id,Review,Sentiment\n1,a b,pos\n", {"sentence": "Review"}, "Sentiment"),
        ("sst2", "id,what they said,stars\n1,a b,positive\n2,c,negative\n", {"sentence": "what they said"}, "stars"),
        ("sst2", "id,Text,stars\n1,a b,pos\n2,c,neg\n3,d,meh\n4,e,pos\n5,f,neg\n", {"sentence": "Text"}, "stars"),
        ("sst2", "said,stars\na b,good\nc d,bad\ne,good\n", {"sentence": "said"}, "stars"),
        ("sst2", "said,stars,by\na b,good,x\nc d,bad,y\n", {"sentence": "said"}, None),
        ("sst2", "text\na b\n", {"sentence": "text"}, None),
        ("sst2", "one,other\na b,c d\n", {}, None),
        ("mrpc", "text_a,text_b,class\na b,c d,0\n", {"sentence1": "text_a", "sentence2": "text_b"}, "class"),
        ("qnli", "Question,sentence,label\na b,c d,0\n", {"question": "Question", "sentence": "sentence"}, "label"),
        ("mnli", "left,right,label\na b,c d,neutral\n", {"premise": "left", "hypothesis": "right"}, "label"),
        ("stsb", "sentence1,sentence2,score\na,b,2.5\n", {"sentence1": "sentence1", "sentence2": "sentence2"}, "score"),
    ],
)
def test_the_common_case_is_guessed(task: str, content: str, columns: dict[str, str], label: str | None) -> None:
    found = guess_mapping(TASKS[task], table(content))
    assert (found.columns, found.label) == (columns, label)


def test_labels_are_class_names_indices_prefixes_or_mapped_values() -> None:
    content = "text,label\na,1\nb,0.0\nc,Positive\nd, NEG \ne,meh\n"
    assert [row.label for row in checked("sst2", content, labels={"NEG": "negative", "meh": "negative"})] == [
        1, 0, 1, 0, 0,
    ]  # fmt: skip
    assert guess_mapping(TASKS["sst2"], table(content)).labels == {
        "1": "positive", "0.0": "negative", "Positive": "positive", "NEG": "negative",
    }  # fmt: skip
    assert [row.label for row in checked("rte", "sentence1,sentence2,label\na,b,not entailment\n")] == [1]
    assert value_counts(table(content), "label") == {"1": 1, "0.0": 1, "Positive": 1, "NEG": 1, "meh": 1}


def test_json_labels_are_indices_or_names() -> None:
    content = '{"text": "a", "label": 1}\n{"text": " b ", "label": 0.0}\n{"text": "c", "label": "negative"}\n'
    assert checked("sst2", content, "jsonl") == [CheckedRow(("a",), 1, None), CheckedRow(("b",), 0, None),
                                                 CheckedRow(("c",), 0, None)]  # fmt: skip


def test_scores_are_numbers_within_the_span() -> None:
    assert [row.label for row in checked("stsb", "sentence1,sentence2,score\na,b,2.5\nc,d,5\n")] == [2.5, 5.0]
    for score in ("5.1", "-0.5", "nan", "high", "1e400"):
        with pytest.raises(
            DataError, match=rf"row 1 \(line 2\) has the score '{score}'.*Labels are numbers from 0 to 5"
        ):
            checked("stsb", f"sentence1,sentence2,score\na,b,{score}\n")


def test_line_breaks_inside_a_text_become_spaces() -> None:
    assert checked("sst2", 'text,label\n" two \r\n\n lines,\nreally ",1\n')[0].texts == ("two lines, really",)


def test_a_file_without_labels_can_be_read() -> None:
    assert checked("sst2", "text\na\n") == [CheckedRow(("a",), None, None)]
    assert checked("sst2", "text,label\na,\nb,\n") == [CheckedRow(("a",), None, None), CheckedRow(("b",), None, None)]


def test_a_column_can_hold_the_split() -> None:
    found = checked("sst2", "text,label,split\na,1,Train\nb,0,dev\n")
    assert [row.split for row in found] == ["train", "validation"]
    with pytest.raises(DataError, match=r"row 2 \(line 3\) has 'later' in 'when', not train or validation"):
        checked("sst2", "text,label,when\na,1,train\nb,0,later\n", split="when")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("text,label\na,1\n ,0\n", r"row 2 \(line 3\) has no text in 'text'"),
        ("text,label\na,1\nb,\n", r"row 2 \(line 3\) has no label in 'label', though other rows have one"),
        ("text,label\na,1\nb,meh\n", r"row 2 \(line 3\) has the label 'meh'.*Labels are negative, positive, or 0 to 1"),
        ("text,label\na,2\n", r"row 1 \(line 2\) has the label '2'"),
        ("one,other\na b,c d\n", "has no column for sentence; choose among: one, other"),
    ],
)
def test_unusable_rows_are_named(content: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        checked("sst2", content)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ('{"text": 5, "label": 1}', r"row 1 \(line 1\) has 5 in 'text', not a text in quotation marks"),
        ('{"text": null, "label": 1}', "has no text in 'text'"),
        ('{"label": 1, "text": "\\ud800"}', "an invalid Unicode character"),
        ('{"label": 1, "text": "a\\u0000b"}', "a NUL character"),
        ('{"label": 1, "text": "\\u0001 \\u0002"}', "only control characters in 'text'"),
        ('{"text": "a", "label": true}', "has the label 'true'"),
        ('{"text": "a", "label": [1]}', r"has the label '\[1\]'"),
    ],
)
def test_json_values_that_are_not_text_are_named(row: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        checked("sst2", row, "jsonl")


def test_impossible_columns_are_named() -> None:
    content = "text,label\na,1\n"
    with pytest.raises(DataError, match=r"has no column 'review'; choose among: text, label"):
        checked("sst2", content, columns={"sentence": "review"})
    with pytest.raises(DataError, match=r"Column 'text' of a\.csv is chosen twice"):
        checked("sst2", content, label="text")
    with pytest.raises(ConfigError, match=r"Unknown class 'good'.*negative, positive"):
        checked("sst2", content, labels={"1": "good"})
    assert DataMapping({}).label is None
