"""Reads a topic from its beginning to the end it had when asked, and prints one JSON object a record.

consume.py BROKERS TOPIC
"""

import base64
import json
import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition


def b64(data):
    return None if data is None else base64.b64encode(data).decode()


def main(brokers, topic):
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "reader", "enable.auto.commit": False,
                         "enable.partition.eof": True, "fetch.message.max.bytes": 16 << 20, "check.crcs": True})
    meta = consumer.list_topics(topic, timeout=30).topics[topic]
    if meta.error:
        sys.exit(f"{topic}: {meta.error}")
    open_partitions = set(meta.partitions)
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in meta.partitions])
    while open_partitions:
        message = consumer.poll(30)
        if message is None:
            sys.exit(f"{topic}: nothing for 30 s, partitions {open_partitions} not at their end")
        if message.error():
            if message.error().code() != KafkaError._PARTITION_EOF:
                sys.exit(f"{topic}: {message.error()}")
            open_partitions.discard(message.partition())
            continue
        kind, stamp = message.timestamp()
        json.dump({"partition": message.partition(), "offset": message.offset(), "timestamp": stamp, "timestamp_type": kind,
                   "key": b64(message.key()), "value": b64(message.value()),
                   "headers": [[k, b64(v)] for k, v in message.headers() or []]}, sys.stdout)
        print()
    consumer.close()


main(*sys.argv[1:])
