"""Reads a Delta table with one engine and prints one JSON object a row.

table.py ENGINE URL     ENGINE: duckdb, polars, deltalake. For s3:// URLs the usual AWS_ variables say where and who.
"""

import base64
import json
import os
import sys
import sysconfig

COLUMNS = ["_kafka_partition", "_kafka_offset", "_kafka_timestamp", "_kafka_key", "_kafka_value", "_kafka_headers", "_kafka_error", "key", "value"]


def b64(data):
    return None if data is None else base64.b64encode(bytes(data)).decode()


def options():
    names = ["AWS_ENDPOINT_URL", "AWS_ALLOW_HTTP", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"]
    return {n: os.environ[n] for n in names if n in os.environ}


def duckdb_rows(url):
    import duckdb

    con = duckdb.connect(config={
        "extension_directory": os.path.join(sysconfig.get_path("platlib"), "duckdb_ext", "extensions"),
        "autoinstall_known_extensions": "false", "autoload_known_extensions": "false"})
    if url.startswith("s3://"):
        o = options()
        con.execute("LOAD httpfs")
        con.execute(f"CREATE SECRET (TYPE s3, KEY_ID '{o['AWS_ACCESS_KEY_ID']}', SECRET '{o['AWS_SECRET_ACCESS_KEY']}', REGION '{o['AWS_REGION']}',"
                    f" ENDPOINT '{o['AWS_ENDPOINT_URL'].removeprefix('http://')}', URL_STYLE 'path', USE_SSL false)")
    con.execute("LOAD delta")
    picked = ", ".join(f'"{c}"' if c != "_kafka_timestamp" else "epoch_us(_kafka_timestamp)" for c in COLUMNS)
    for row in con.execute(f"SELECT {picked} FROM delta_scan(?)", [url]).fetchall():
        yield dict(zip(COLUMNS, row))


def micros(table):
    import pyarrow

    at = table.schema.get_field_index("_kafka_timestamp")
    # To microseconds first: a reader may hand over nanoseconds.
    column = table.column(at).cast(pyarrow.timestamp("us", tz="UTC")).cast(pyarrow.int64())
    return table.set_column(at, "_kafka_timestamp", column).to_pylist()


def deltalake_rows(url):
    import deltalake

    return micros(deltalake.DeltaTable(url, storage_options=options()).to_pyarrow_table(columns=COLUMNS))


def polars_rows(url):
    import polars

    return micros(polars.scan_delta(url, storage_options=options() or None).select(COLUMNS).collect().to_arrow())


def main(engine, url):
    for r in {"duckdb": duckdb_rows, "polars": polars_rows, "deltalake": deltalake_rows}[engine](url):
        headers = None if r["_kafka_headers"] is None else [[h["key"], b64(h["value"])] for h in r["_kafka_headers"]]
        json.dump({"partition": r["_kafka_partition"], "offset": r["_kafka_offset"], "timestamp_us": r["_kafka_timestamp"],
                   "key": r["key"], "value": r["value"], "raw_key": b64(r["_kafka_key"]), "raw_value": b64(r["_kafka_value"]),
                   "headers": headers, "error": r["_kafka_error"]}, sys.stdout)
        print()


main(*sys.argv[1:])
