"""Is a member of a group of the consumer protocol until it is killed, and prints the value of each record it is given.

member.py BROKERS TOPIC GROUP
"""

import sys

from confluent_kafka import Consumer


def main(brokers, topic, group):
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": group, "group.protocol": "consumer",
                         "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    while True:
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error():
            print(message.error(), file=sys.stderr, flush=True)  # the agent is away: the client goes on by itself
            continue
        print(message.value().decode(), flush=True)


main(*sys.argv[1:])
