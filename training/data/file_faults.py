"""Find what is wrong with the files of a data set that `datasets` could not load, and mend what only lacks a type."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet
from datasets import Features, List, Value

from ..common.excerpts import excerpt, listed, quoted
from ..common.loading import one_line_reason

JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
TABLE_SUFFIXES = {".csv": ",", ".tsv": "\t"}
NO_TYPE = Value("null")


def fault_of_files(files: list[str]) -> str | None:
    """Return in one line which file is at fault and why, `None` where all can be read and have the same columns.

    Args:
        files: paths of Parquet, JSON and CSV files, in the order in which they are read; others are passed over.
    """
    first, first_schema = None, None
    for file in files:
        try:
            fault = _fault_of_lines(file) if _suffix(file) in JSON_SUFFIXES else None
            schema = None if fault else _schema(file)
            _read_pages(file)
        except Exception as error:  # pyarrow and pandas raise a dozen kinds
            fault, schema = one_line_reason(error), None
        if fault:
            return f"file {quoted(file)}: {fault}"
        if first_schema is None:
            first, first_schema = file, schema
        elif schema is not None and (difference := _difference(first_schema, schema, Path(first).name)):
            return f"file {quoted(file)}: {difference}"
    return None


def joined_features(files: list[str]) -> Features | None:
    """Return the columns of files of which one lacks a type that another has; `None` for any others.

    A file whose captions are all null gives them no type, and `datasets` takes the types of the first file for all.

    Args:
        files: paths of Parquet and JSON files, in the order in which they are read.
    """
    try:
        schemas = [_schema(file) for file in files if _suffix(file) in (*JSON_SUFFIXES, ".parquet")]
    except Exception:  # a file that cannot be read is no case of a lacking type
        return None
    if None in schemas:
        return None
    all_features = [Features.from_arrow_schema(schema) for schema in schemas]
    if not all_features or any(set(features) != set(all_features[0]) for features in all_features):
        return None
    joined = {name: all_features[0][name] for name in all_features[0]}
    for features in all_features[1:]:
        joined = {name: _joined(feature, features[name]) for name, feature in joined.items()}
    return None if joined == dict(all_features[0]) else Features(joined)


def lacks_a_type(feature: object) -> bool:
    """Return whether a feature, or one in it, has no type, because all its values are null."""
    if isinstance(feature, dict):
        return any(map(lacks_a_type, feature.values()))
    return feature == NO_TYPE or (isinstance(feature, List) and lacks_a_type(feature.feature))


def _joined(first: object, second: object) -> object:
    """Return a feature with the types of `second` where `first` has none."""
    if first == NO_TYPE:
        return second
    if isinstance(first, List) and isinstance(second, List):
        return List(_joined(first.feature, second.feature), length=first.length)
    if isinstance(first, dict) and isinstance(second, dict):
        return {name: _joined(feature, second.get(name, NO_TYPE)) for name, feature in first.items()}
    return first


def _schema(file: str) -> pa.Schema | None:
    """Return the columns of a file; `None` for a file of another kind. A file that cannot be read raises."""
    suffix = _suffix(file)
    if suffix == ".parquet":
        return pa.parquet.read_schema(file)
    if suffix in JSON_SUFFIXES:
        return None if _begins_a_list(file) else pa.json.read_json(file).schema
    if suffix in TABLE_SUFFIXES:
        return pa.Schema.from_pandas(pandas.read_csv(file, sep=TABLE_SUFFIXES[suffix]), preserve_index=False)
    return None


def _read_pages(file: str) -> None:
    """Read a Parquet file: a damaged page raises."""
    if _suffix(file) == ".parquet":
        for _ in pa.parquet.ParquetFile(file).iter_batches(batch_size=100):
            pass


def _fault_of_lines(file: str) -> str | None:
    """Return the first line of a JSON file that cannot be read, with the reason."""
    if _begins_a_list(file):
        return _json_fault(Path(file).read_bytes(), lambda error: error.lineno)
    with open(file, "rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip() and (fault := _json_fault(line, lambda error, number=number: number)):
                return fault if fault.startswith("line") else f"line {number}: {fault}"
    return None


def _json_fault(content: bytes, line_of: Callable[[json.JSONDecodeError], int]) -> str | None:
    try:
        json.loads(content.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        reason = f"{error.msg.removesuffix(' at')} at character {error.colno}"
        return f"line {line_of(error)}: got no JSON, expected a story: {reason}"
    except UnicodeDecodeError as error:
        return f"got other text, expected UTF-8: {error}"
    return None


def _begins_a_list(file: str) -> bool:
    with open(file, "rb") as content:
        return content.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")


def _difference(first: pa.Schema, second: pa.Schema, first_name: str) -> str | None:
    """Return in which column a file differs from the first one."""
    more = [name for name in second.names if name not in first.names]
    fewer = [name for name in first.names if name not in second.names]
    if more or fewer:
        what = f"more: {listed(more)}" if more else f"fewer: {listed(fewer)}"
        return f"got columns {what}; expected those of {quoted(first_name)}"
    for name in first.names:
        one, other = first.field(name).type, second.field(name).type
        if one != other:
            return f"column {quoted(name)}: got {excerpt(other)}, expected {excerpt(one)} as in {quoted(first_name)}"
    return None


def _suffix(file: str) -> str:
    return Path(file).suffix.lower()
