"""Produces numbered records with librdkafka until standard input ends, then waits for every acknowledgement.

load.py BROKERS TOPIC NAME PARTITIONS RATE VALUE_BYTES WAITING

Record n goes to partition n % PARTITIONS with the value "NAME/PARTITION/n ..." of VALUE_BYTES, RATE a second, at most WAITING of
them unanswered. Standard output has a line a record, "ack PARTITION n OFFSET" or "failed PARTITION n REASON", and "sent COUNT" last.
"""

import sys
import threading
import time

from confluent_kafka import Producer

MILLIS = 600_000


def main(brokers, topic, name, partitions, rate, size, waiting):
    partitions, rate, size, waiting = int(partitions), float(rate), int(size), int(waiting)
    producer = Producer({"bootstrap.servers": brokers, "acks": "all", "enable.idempotence": True, "message.timeout.ms": MILLIS,
                         "request.timeout.ms": 15000, "linger.ms": 5, "batch.num.messages": 50, "retry.backoff.ms": 50,
                         "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200},
                        error_cb=lambda e: fatal.append(e) if e.fatal() else None)
    fatal, stop, out = [], threading.Event(), []
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()

    def delivered(n):
        def callback(error, message):
            if error:
                out.append(f"failed {n % partitions} {n} {error}")
            else:
                # No offset: the answer was lost or late, and that of a later batch told that this one is there too.
                offset = message.offset()
                out.append(f"ack {message.partition()} {n} {-1 if offset is None else offset}")
        return callback

    def tell():
        if out:
            print("\n".join(out), flush=True)
            out.clear()

    number, due = 0, time.monotonic()
    while not stop.is_set() and not fatal:
        producer.poll(max(0.0, due - time.monotonic()))
        tell()
        now = time.monotonic()
        if now < due:
            continue
        if len(producer) >= waiting:
            producer.poll(0.02)
            due = time.monotonic()  # what there was no room for is not made up for
            continue
        due = max(due + 1 / rate, now - 0.1)
        partition = number % partitions
        producer.produce(topic, value=f"{name}/{partition}/{number} ".encode().ljust(size, b"."), partition=partition, on_delivery=delivered(number))
        number += 1
    deadline = time.monotonic() + MILLIS / 1000
    while len(producer) and not fatal and time.monotonic() < deadline:
        producer.poll(0.1)
        tell()
    tell()
    if fatal or len(producer):
        sys.exit(f"{name}: {len(producer)} records without an answer: {fatal}")
    print(f"sent {number}", flush=True)


main(*sys.argv[1:])
