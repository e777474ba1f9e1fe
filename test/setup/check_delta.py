"""Reads one small Delta table with every reader, from a local path and from an S3 server on loopback, without any other network.

check_delta.py VERSITYGW WORK_DIR: the S3 server's program and an empty directory. Prints one line per reader and place.
It is also the place to copy the readers' options from.
"""

import os
import socket
import subprocess
import sys
import sysconfig
import time

import deltalake
import duckdb
import polars
import pyarrow

KEY, SECRET, REGION = "barge", "barge-secret", "us-east-1"
ROWS = [(1, "a"), (2, ""), (3, None)]


def duckdb_connection(*extensions):
    """Only the named extensions, only from the wheels: nothing is looked for elsewhere."""
    con = duckdb.connect(
        config={
            "extension_directory": os.path.join(sysconfig.get_path("platlib"), "duckdb_ext", "extensions"),
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }
    )
    for name in extensions:
        con.execute(f"LOAD {name}")
    return con


def expect(name, rows):
    if sorted(rows) != ROWS:
        sys.exit(f"{name}: read {rows}, want {ROWS}")
    print("ok", name)


def read_all(place, url, con, options):
    """The three independent read paths: DuckDB on delta-kernel, delta-rs through pyarrow, Polars' own scan."""
    expect(f"duckdb {place}", con.execute("SELECT k, v FROM delta_scan(?)", [url]).fetchall())
    table = deltalake.DeltaTable(url, storage_options=options).to_pyarrow_table()
    expect(f"deltalake {place}", [(r["k"], r["v"]) for r in table.to_pylist()])
    expect(f"polars {place}", polars.scan_delta(url, storage_options=options).collect().rows())


def start_gateway(program, root):
    """A versitygw whose buckets are the directories under root."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = "127.0.0.1:%d" % s.getsockname()[1]
    log = open(os.path.join(root, "..", "versitygw.log"), "w")
    command = [program, "--quiet", "--port", address, "--access", KEY, "--secret", SECRET, "--region", REGION, "posix", root]
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    host, port = address.split(":")
    for _ in range(200):
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return process, address
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.05)
    process.kill()
    sys.exit("versitygw did not start; see versitygw.log")


def main(program, work):
    rows = pyarrow.table({"k": [k for k, _ in ROWS], "v": [v for _, v in ROWS]})

    url = "file://" + os.path.join(work, "table")
    deltalake.write_deltalake(url, rows)
    read_all("file", url, duckdb_connection("delta"), None)

    buckets = os.path.join(work, "buckets")
    os.makedirs(os.path.join(buckets, "bucket"))
    process, address = start_gateway(program, buckets)
    try:
        options = {
            "AWS_ENDPOINT_URL": f"http://{address}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": REGION,
        }
        url = "s3://bucket/table"
        deltalake.write_deltalake(url, rows, storage_options=options)
        # The secret type s3 comes from httpfs, so that is loaded first.
        con = duckdb_connection("httpfs", "delta")
        con.execute(
            f"CREATE SECRET (TYPE s3, KEY_ID '{KEY}', SECRET '{SECRET}', REGION '{REGION}',"
            f" ENDPOINT '{address}', URL_STYLE 'path', USE_SSL false)"
        )
        read_all("s3", url, con, options)
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
