import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Properties;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Produces numbered records with Apache Kafka's own client until standard input ends, as load.py does with librdkafka.
 *
 * <p>Load BROKERS TOPIC NAME PARTITIONS RATE VALUE_BYTES WAITING, run from source: java -cp JARS Load.java ...
 */
public final class Load {
    private static final StringBuilder OUT = new StringBuilder();
    private static volatile boolean stop;

    private Load() {}

    public static void main(String[] args) throws Exception {
        String topic = args[1];
        String name = args[2];
        int partitions = Integer.parseInt(args[3]);
        double rate = Double.parseDouble(args[4]);
        int size = Integer.parseInt(args[5]);
        Semaphore room = new Semaphore(Integer.parseInt(args[6]));
        Properties p = new Properties();
        p.put("bootstrap.servers", args[0]);
        p.put("key.serializer", ByteArraySerializer.class.getName());
        p.put("value.serializer", ByteArraySerializer.class.getName());
        p.put("acks", "all");
        p.put("enable.idempotence", "true");
        p.put("retries", String.valueOf(Integer.MAX_VALUE));
        p.put("delivery.timeout.ms", "600000");
        p.put("request.timeout.ms", "15000");
        p.put("max.block.ms", "600000");
        p.put("linger.ms", "5");
        p.put("batch.size", String.valueOf(Math.max(2048, 4 * size)));
        p.put("retry.backoff.ms", "50");
        p.put("reconnect.backoff.ms", "20");
        p.put("reconnect.backoff.max.ms", "200");
        Thread reader = new Thread(() -> {
            try {
                while (System.in.read() >= 0) {}
            } catch (IOException e) {
                System.err.println(e);
            }
            stop = true;
        });
        reader.setDaemon(true);
        reader.start();
        long number = 0;
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(p)) {
            long begun = System.nanoTime();
            long held = 0; // how long there was no room: the rate does not make up for it
            while (!stop) {
                long at = begun + held + (long) (number * 1e9 / rate);
                long wait = at - System.nanoTime();
                if (wait > 0) {
                    print();
                    TimeUnit.NANOSECONDS.sleep(wait);
                }
                long full = System.nanoTime();
                if (!room.tryAcquire()) {
                    print();
                    if (!room.tryAcquire(100, TimeUnit.MILLISECONDS)) {
                        held += System.nanoTime() - full;
                        continue;
                    }
                    held += System.nanoTime() - full;
                }
                int partition = (int) (number % partitions);
                long n = number++;
                byte[] start = (name + "/" + partition + "/" + n + " ").getBytes(StandardCharsets.UTF_8);
                byte[] value = Arrays.copyOf(start, Math.max(size, start.length));
                Arrays.fill(value, start.length, value.length, (byte) '.');
                producer.send(new ProducerRecord<>(topic, partition, null, value), (meta, failure) -> {
                    room.release();
                    synchronized (OUT) {
                        if (failure != null) {
                            OUT.append("failed ").append(partition).append(' ').append(n).append(' ').append(failure).append('\n');
                        } else {
                            OUT.append("ack ").append(partition).append(' ').append(n).append(' ').append(meta.offset()).append('\n');
                        }
                    }
                });
            }
            producer.flush();
        }
        print();
        System.out.println("sent " + number);
    }

    private static void print() {
        synchronized (OUT) {
            System.out.print(OUT);
            System.out.flush();
            OUT.setLength(0);
        }
    }
}
