"""Files of the user: read completely, or refused with the place of each fault."""

import tracemalloc

import pytest

from distill_core.data.user_files import MAX_MEGABYTES, check_size, read_table
from distill_core.errors import DataError


def rows(file: str, content: str | bytes) -> list[dict[str, object]]:
    table = read_table(file, content.encode() if isinstance(content, str) else content)
    return [dict(row) for row in table.rows]


def test_csv_quotes_are_respected() -> None:
    content = 'review,label\r\n"Good, ""really"" good",1\r\n"two\nlines",0\r\nplain "inside",1\r\n\r\n,\r\n'
    table = read_table("a.csv", content.encode())
    assert [row["review"] for row in table.rows] == ['Good, "really" good', "two\nlines", 'plain "inside"']
    assert table.lines == (2, 3, 5)
    assert table.place(2) == "row 3 (line 5)"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_the_csv_separator_is_the_most_frequent_one_in_the_header(separator: str) -> None:
    assert rows("a.csv", f"text{separator}label\na{separator}1\n") == [{"text": "a", "label": "1"}]


def test_csv_lines_may_end_in_carriage_returns() -> None:
    assert rows("a.csv", "text;label\ra, b, c;1\r") == [{"text": "a, b, c", "label": "1"}]


def test_tsv_is_unquoted_and_ends_lines_at_line_feeds() -> None:
    content = 'sentence\tlabel\r\n"the "best" film\t1\r\none\rrow\u2028more\t0\r\n'
    assert rows("a.TSV", content) == [
        {"sentence": '"the "best" film', "label": "1"},
        {"sentence": "one\rrow\u2028more", "label": "0"},
    ]


def test_jsonl_has_one_object_per_line() -> None:
    table = read_table("a.jsonl", b'{"text": "a\\nb", "label": 1}\n{"label": null, "text": "c", "more": [2]}\n\n')
    assert table.columns == ("text", "label", "more")
    assert dict(table.rows[0]) == {"text": "a\nb", "label": 1}


def test_a_byte_order_mark_other_scripts_html_and_long_texts_are_fine() -> None:
    text = "שלום 你好 <b>&amp;</b> 😀"
    content = b"\xef\xbb\xbf" + f"text,label\n{text},1\n{'very ' * 100_000},0\n".encode()
    table = read_table("a.csv", content)
    assert table.columns == ("text", "label")
    assert table.rows[0]["text"] == text
    assert len(table.rows[1]["text"]) == 500_000


def test_a_column_without_a_name_gets_one() -> None:
    assert rows("a.csv", ",text\n0,fine\n") == [{"column 1": "0", "text": "fine"}]


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("a.xlsx", b"PK", r"a\.xlsx does not end in \.csv, \.tsv or \.jsonl; export"),
        ("a.csv", b"", "a.csv has no rows; wanted a header line and a row"),
        ("a.csv", b"text,label\n\n\n", "has no rows"),
        ("a.jsonl", b"\n\n", "has no rows; wanted a row"),
        ("a.csv", b"text,label\nfine,1\ncaf\xe9,0\n", r"not UTF-8: byte 22 \(line 3\) is 0xe9; save the file as"),
        ("a.csv", "text,label\na,1\n".encode("utf-16"), r"byte 1 \(line 1\) is 0xff"),
        ("a.tsv", b"text\tlabel\na\0b\t1\n", "line 2 holds a NUL character"),
        ("a.csv", b"text,label\na,1\nb,c,0\n", r"row 2 \(line 3\) has 3 cells, the header line 2"),
        ("a.csv", b"text,label\na\n", r"row 1 \(line 2\) has 1 cell, the header line 2"),
        ("a.csv", b"text,label\na,1\n\nb,0\n", r"row 2 \(line 3\) is empty"),
        ("a.csv", b"text,label\na,1\n,\nb,0\n", r"row 2 \(line 3\) is empty"),
        ("a.csv", b"text,label,text\na,1,b\n", "the header line names 'text' twice; rename one"),
        ("a.csv", b'text,label\na,1\n"open,1\nb,0\n', "a.csv: line 3 has a misplaced quotation mark"),
        ("a.csv", b'text,label\n"a" b,1\n', "a.csv: line 2 has a misplaced quotation mark"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', r"row 2 \(line 2\) is not a JSON object \(Expecting value"),
        ("a.jsonl", b'{"text": "a"}\n["a"]\n', r'row 2 \(line 2\) is not a JSON object \(it is \["a"\], not an object'),
        ("a.jsonl", b'{"text": "a", "text": "b"}\n', r"row 1 \(line 1\) .*names 'text' twice"),
        ("a.jsonl", b'{"text": "a"}\n\n{"text": "b"}\n', r"row 2 \(line 2\) is empty"),
        ("a.jsonl", b"[" * 100_000, "nested too deeply"),
        ("a.jsonl", b'{"label": %s}' % (b"[" * 60 + b"]" * 60), r"row 1 \(line 1\) .*nested too deeply"),
        ("a.jsonl", b'{"a": 1}\n{"\\ud800": 1}', r"row 2 .* is not .*an invalid Unicode .*, \\ud800\)"),
        ("a.jsonl", b'{"label": ["\\udfff"]}', r"row 1 \(line 1\) .*an invalid Unicode character, \\udfff"),
    ],
)  # fmt: skip
def test_each_fault_is_named_with_its_place(file: str, content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_table(file, content)


def test_many_faults_are_counted() -> None:
    with pytest.raises(DataError, match=r"row 1 .*; row 2 .*; row 3 .*; and 7 more like these\. Correct"):
        read_table("a.csv", b"text,label\n" + b"a\n" * 10)


def test_reading_stops_after_many_faults() -> None:
    for file, content in (("a.csv", b"text,label\n" + b"\n" * 5_000 + b"a,1\n"), ("a.jsonl", b"5\n" * 5_000)):
        with pytest.raises(DataError, match=r"row 3 .*; and 997 more like these\. Reading stopped there\. "):
            read_table(file, content)


@pytest.mark.parametrize("end", [b"", b"a,1\n"])
def test_millions_of_blank_lines_take_little_memory(end: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(DataError, match="no rows" if not end else "is empty"):
        read_table("a.csv", b"text,label\n" + b"\n" * 500_000 + end)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * 2**20  # bytes; a list of the lines would take 25 MB more


def test_lists_in_other_columns_and_file_names_that_are_not_utf_8_are_fine() -> None:
    table = read_table("caf\udce9.jsonl", b'{"text": "a", "tokens": [["a"]]}')
    assert (table.file, table.columns) == ("caf?.jsonl", ("text", "tokens"))


def test_a_large_file_is_refused_before_it_is_read() -> None:
    with pytest.raises(DataError, match=r"a\.csv has 50\.0 MB; wanted at most 50 MB"):
        check_size("a.csv", MAX_MEGABYTES * 2**20 + 1)
    check_size("a.csv", MAX_MEGABYTES * 2**20)


@pytest.mark.parametrize(
    ("content", "headed"),
    [
        (b"text,label\na film,good\n", True),
        (b"a film,good\nanother,bad\none more,good\n", False),  # its last cell comes again in its column
        (b"a film,1\nanother,0\n", False),  # no column is called 1
        (b"text,label\na film,good\ntext,label\nanother,bad\n", True),  # two files strung together
        (b"a film\nanother\n", True),  # cannot be told
        (b"a film,good\na film,good\nanother,bad\none more,good\n", False),  # comes again, and not only as a whole
        (b"text,\na film,\nanother,\n", True),  # what is empty says nothing
        (b"good,text\na film,good\nanother,bad\n", True),  # a value of another column
        (b"a film,.5\nanother,.7\n", False),
        (b"a film,1e-3\nanother,2\n", False),
        (b'a film,"1,234.5"\nanother,2\n', False),
        (b"label,film\n" + b"".join(b"a,film %d\n" % at for at in range(300)) + b"label,x\n", False),
    ],
)
def test_a_first_line_that_looks_like_data_is_a_row(content: bytes, headed: bool) -> None:
    table = read_table("a.csv", content)
    assert table.headed == headed
    assert len(table.rows) == content.count(b"\n") - headed
    assert table.lines[0] == 1 + headed


def test_the_choice_for_the_first_line_has_priority() -> None:
    content = b"1\t2\nfine\tgood\n"
    assert read_table("a.tsv", content, headed=True).columns == ("1", "2")
    table = read_table("a.tsv", content, headed=False)
    assert dict(table.rows[0]) == {"column 1": "1", "column 2": "2"}
    assert table.place(0) == "row 1 (line 1)"
    with pytest.raises(DataError, match=r"row 2 \(line 2\) has 1 cell, the first line 2"):
        read_table("a.tsv", b"a\tb\nc\n", headed=False)
    assert read_table("a.jsonl", b'{"1": "fine"}\n', headed=False).headed
