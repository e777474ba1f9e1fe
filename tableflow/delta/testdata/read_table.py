"""Read a Delta table with every engine and compare it with the rows expected.

Usage: read_table.py TABLE_DIR EXPECTED_JSONL VERSION

One line per engine goes to standard output; the exit status is 1 when one of them differs or fails.
"""

import json
import os
import sys

import deltalake
import duckdb
import polars
import pyarrow

COLUMNS = [
    "_kafka_partition", "_kafka_offset", "_kafka_timestamp", "_kafka_key", "_kafka_value", "_kafka_headers",
    "_kafka_schema_id", "_kafka_error", "key", "value",
]


def plain(row):
    """Bytes as hexadecimal text, header structs as pairs."""
    row = list(row)
    for i in (3, 4):
        row[i] = None if row[i] is None else bytes(row[i]).hex()
    if row[5] is not None:
        row[5] = [[h["key"], None if h["value"] is None else bytes(h["value"]).hex()] for h in row[5]]
    return row


def from_arrow(table):
    table = pyarrow.table(table)
    names = table.schema.names
    assert names == COLUMNS, names
    stamp = table.schema.field("_kafka_timestamp").type
    assert pyarrow.types.is_timestamp(stamp) and stamp.unit == "us" and stamp.tz == "UTC", stamp
    at = names.index("_kafka_timestamp")
    table = table.set_column(at, "_kafka_timestamp", table.column(at).cast(pyarrow.int64()))
    columns = [c.to_pylist() for c in table.columns]
    return [plain(row) for row in zip(*columns)]


def connect():
    """A DuckDB with the delta extension that its wheel brought, and no way to download another."""
    import duckdb_ext

    folder = os.path.join(list(duckdb_ext.__path__)[0], "extensions")
    db = duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False})
    db.execute(f"SET extension_directory = '{folder}'")
    db.execute("LOAD delta")
    return db


def by_pyarrow(path, version):
    table = deltalake.DeltaTable(path)
    assert table.version() == version, table.version()
    return from_arrow(table.to_pyarrow_table())


def by_datafusion(path, version):
    query = deltalake.QueryBuilder().register("t", deltalake.DeltaTable(path))
    return from_arrow(query.execute("SELECT * FROM t").read_all())


def by_polars(path, version):
    frame = polars.scan_delta(path).collect()
    assert frame.columns == COLUMNS, frame.columns
    frame = frame.with_columns(polars.col("_kafka_timestamp").cast(polars.Int64))
    return [plain(row) for row in frame.iter_rows()]


def by_duckdb(path, version):
    cols = ", ".join("epoch_us(_kafka_timestamp)" if c == "_kafka_timestamp" else c for c in COLUMNS)
    rows = connect().execute(f"SELECT {cols} FROM delta_scan('file://{path}')").fetchall()
    return [plain(row) for row in rows]


def filtered(path, expected):
    """A filter must find what it would find without statistics: bounds and page indexes may only skip what can not match."""
    wanted = [r for r in expected if r[8] is not None][:: max(1, len(expected) // 40)]
    db = connect()
    lazy = polars.scan_delta(path)
    query = deltalake.QueryBuilder().register("t", deltalake.DeltaTable(path))
    for row in wanted:
        if "\x00" in row[8]:
            continue
        text = row[8].replace("'", "''")
        count = sum(1 for r in expected if r[8] == row[8])
        got = {
            "polars": lazy.filter(polars.col("key") == row[8]).select(polars.len()).collect().item(),
            "duckdb": db.execute(f"SELECT count(*) FROM delta_scan('file://{path}') WHERE key = ?", [row[8]]).fetchone()[0],
            "datafusion": pyarrow.table(query.execute(f"SELECT count(*) AS n FROM t WHERE key = '{text}'").read_all()).column(0)[0].as_py(),
        }
        for engine, n in got.items():
            assert n == count, f"{engine} finds {n} rows with key {row[8]!r}, not {count}"
    offset, partition = expected[len(expected) // 2][1], expected[len(expected) // 2][0]
    got = lazy.filter((polars.col("_kafka_partition") == partition) & (polars.col("_kafka_offset") >= offset)).select(polars.len()).collect().item()
    count = sum(1 for r in expected if r[0] == partition and r[1] >= offset)
    assert got == count, f"polars finds {got} rows from offset {offset} on, not {count}"
    return len(wanted)


def refused(path):
    """Writers that obey the protocol must not write, and a vacuum must not see _data."""
    os.makedirs(os.path.join(path, "sub"))
    strays = [os.path.join(path, folder, "stray.parquet") for folder in ("_data", "sub")]
    for stray in strays:
        with open(stray, "wb") as f:
            f.write(b"nothing")
    rows = deltalake.DeltaTable(path).to_pyarrow_table()
    every = dict(retention_hours=0, enforce_retention_duration=False, full=True)
    for name, write in {
        "append": lambda: deltalake.write_deltalake(path, rows, mode="append"),
        "delete": lambda: deltalake.DeltaTable(path).delete("key = 'x'"),
        "compact": lambda: deltalake.DeltaTable(path).optimize.compact(),
        "full vacuum": lambda: deltalake.DeltaTable(path).vacuum(dry_run=False, **every),
    }.items():
        try:
            write()
        except deltalake.exceptions.CommitFailedError as e:
            assert "required" in str(e), e
            continue
        raise AssertionError(name + " was let through")
    assert all(os.path.exists(stray) for stray in strays), "a vacuum deleted files"
    found = deltalake.DeltaTable(path).vacuum(dry_run=True, **every)
    assert [os.path.basename(os.path.dirname(f)) for f in found] == ["sub"], found


def main():
    path, expected_path, version = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with open(expected_path, encoding="utf-8") as f:
        expected = sorted((json.loads(line) for line in f), key=lambda r: (r[0], r[1]))
    failed = False
    engines = [
        ("deltalake %s to_pyarrow_table" % deltalake.__version__, by_pyarrow),
        ("deltalake %s QueryBuilder (DataFusion)" % deltalake.__version__, by_datafusion),
        ("polars %s scan_delta" % polars.__version__, by_polars),
        ("duckdb %s delta_scan" % duckdb.__version__, by_duckdb),
    ]
    for name, read in engines:
        try:
            rows = sorted(read(path, version), key=lambda r: (r[0], r[1]))
        except BaseException as e:  # an engine's panic is no Exception
            print(f"FAIL {name}: {type(e).__name__}: {e}")
            failed = True
            continue
        if len(rows) != len(expected):
            print(f"FAIL {name}: {len(rows)} rows, want {len(expected)}")
            failed = True
            continue
        bad = [(w, g) for w, g in zip(expected, rows) if w != g]
        if bad:
            print(f"FAIL {name}: {len(bad)} rows differ, first: want {str(bad[0][0])[:400]} got {str(bad[0][1])[:400]}")
            failed = True
            continue
        print(f"ok   {name}: {len(rows)} rows equal")
    try:
        print(f"ok   filters on {filtered(path, expected)} keys")
    except BaseException as e:
        print(f"FAIL filters: {type(e).__name__}: {e}")
        failed = True
    try:
        refused(path)
        print("ok   writers are refused")
    except BaseException as e:
        print(f"FAIL writers: {type(e).__name__}: {e}")
        failed = True
    sys.exit(1 if failed else 0)


main()
