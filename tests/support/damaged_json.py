"""Contents that a JSON file may have after a crash, a full disk or a hand at work, none of them a JSON object."""

DAMAGED_JSON: dict[str, bytes] = {
    "empty": b"",
    "cut": b'{"token": "a',
    "zeros": bytes(100),
    "no UTF-8": b'{"name": "\xff"}',
    "UTF-16": '{"name": "a"}'.encode("utf-16"),
    "nested too deeply": b"[" * 100_000,
    "nested too deeply inside": b'{"name": ' + b"[" * 100_000,
    "lone surrogate": b'{"name": "\\ud800"}',
    "lone surrogate as a name": b'{"\\udfff": 1}',
    "number of too many digits": b'{"step": ' + b"1" * 5000 + b"}",
    "list": b"[]",
    "text": b'"a"',
    "null": b"null",
}
