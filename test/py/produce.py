"""Produces the records that standard input describes, one JSON object a line, and waits for every acknowledgement.

produce.py BROKERS TOPIC CODEC IDEMPOTENT(true|false)
"""

import base64
import json
import sys

from confluent_kafka import Producer


def raw(text):
    return None if text is None else base64.b64decode(text)


def main(brokers, topic, codec, idempotent):
    failed = []
    producer = Producer({"bootstrap.servers": brokers, "compression.type": codec, "enable.idempotence": idempotent == "true",
                         "message.max.bytes": 32 << 20, "linger.ms": 20, "message.timeout.ms": 60000})

    def delivered(error, message):
        if error:
            failed.append(str(error))

    for line in sys.stdin:
        r = json.loads(line)
        args = {"partition": r["partition"]} if r.get("partition") is not None else {}
        if r.get("timestamp"):
            args["timestamp"] = r["timestamp"]
        while True:
            try:
                producer.produce(topic, value=raw(r["value"]), key=raw(r["key"]),
                                 headers=[(k, raw(v)) for k, v in r["headers"] or []], on_delivery=delivered, **args)
                break
            except BufferError:
                producer.poll(1)
        producer.poll(0)
    left = producer.flush(90)
    if left or failed:
        sys.exit(f"{topic}: {left} records not delivered, {len(failed)} failed: {failed[:3]}")


main(*sys.argv[1:])
