"""Check that filters find rows in files whose other values no bound could cover.

Usage: filter_table.py TABLE_DIR CASES_JSON

CASES_JSON is a list of [column, operator, value, number of rows]; a value of a column that ends in timestamp is ISO 8601,
in UTC. One line per engine goes to standard output; the exit status is 1 when one of them finds another number or fails.
"""

import datetime
import json
import operator
import os
import sys

import deltalake
import duckdb
import polars
import pyarrow
import pyarrow.dataset

OPERATORS = {"=": operator.eq, ">=": operator.ge, "<=": operator.le}


def value_of(column, value):
    return datetime.datetime.fromisoformat(value) if column.endswith("timestamp") else value


def sql(column, op, value):
    if op == "is null":
        return f"{column} IS NULL"
    kind = "TIMESTAMPTZ " if column.endswith("timestamp") else ""
    return f"{column} {op} {kind}'{value}'"


def by_datafusion(path, column, op, value):
    query = deltalake.QueryBuilder().register("t", deltalake.DeltaTable(path))
    where = sql(column, op, value).replace("TIMESTAMPTZ", "TIMESTAMP")
    return pyarrow.table(query.execute(f"SELECT count(*) AS n FROM t WHERE {where}").read_all()).column(0)[0].as_py()


def by_pyarrow(path, column, op, value):
    field = pyarrow.dataset.field(column)
    condition = field.is_null() if op == "is null" else OPERATORS[op](field, value_of(column, value))
    return deltalake.DeltaTable(path).to_pyarrow_dataset().to_table(filter=condition).num_rows


def by_polars(path, column, op, value):
    field = polars.col(column)
    condition = field.is_null() if op == "is null" else OPERATORS[op](field, value_of(column, value))
    return polars.scan_delta(path).filter(condition).select(polars.len()).collect().item()


def by_duckdb(path, column, op, value):
    import duckdb_ext

    folder = os.path.join(list(duckdb_ext.__path__)[0], "extensions")
    db = duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False})
    db.execute(f"SET extension_directory = '{folder}'")
    db.execute("LOAD delta")
    return db.execute(f"SELECT count(*) FROM delta_scan('file://{path}') WHERE {sql(column, op, value)}").fetchone()[0]


def main():
    path, cases = sys.argv[1], json.loads(sys.argv[2])
    failed = False
    for engine in (by_datafusion, by_pyarrow, by_polars, by_duckdb):
        wrong = 0
        for column, op, value, want in cases:
            try:
                got = engine(path, column, op, value)
            except BaseException as e:  # an engine's panic is no Exception
                got = f"{type(e).__name__}: {e}"
            if got != want:
                print(f"FAIL {engine.__name__}: {sql(column, op, value)[:100]}: {got}, want {want}")
                wrong += 1
        print(f"{'FAIL' if wrong else 'ok  '} {engine.__name__}: {len(cases) - wrong} of {len(cases)} filters")
        failed = failed or wrong > 0
    sys.exit(1 if failed else 0)


main()
