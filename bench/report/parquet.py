"""Tables and views as Parquet: the rows of the CSV with their types. Imports pandas, so import it lazily."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

from bench.errors import UsageError
from bench.report.flat import Value, flat_rows
from bench.report.table import Table

WHOLE = ("nfe", "steps", "rank", "seeds", "seeds_started", "problems", "place_1/4", "place_1/2", "place_full")


def parquet(tables: Sequence[Table]) -> bytes:
    """The columns of ``flat_rows``; whole numbers stay whole where some are missing, text is as recorded.

    Raises:
        UsageError: pyarrow is not installed.
    """
    return parquet_rows(flat_rows(tables))


def parquet_rows(rows: Sequence[dict[str, Value]]) -> bytes:
    """Rows of the same keys; see ``parquet``."""
    import pandas as pd

    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        needed = "pip install 'distillbench[parquet]'"
        raise UsageError(f"--format parquet: needs pyarrow, which is not installed; {needed}") from error
    frame = pd.DataFrame(list(rows), columns=list(rows[0]) if rows else None)
    frame = frame.astype({key: "Int64" for key in WHOLE if key in frame})
    stream = BytesIO()
    frame.to_parquet(stream, engine="pyarrow", index=False)
    return stream.getvalue()
