package weir.peers;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Duration;
import java.util.HexFormat;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.regex.Pattern;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.state.BuiltInDslStoreSuppliers;

/**
 * The topologies of the benchmarks of router and enforcer in Kafka Streams: the same input, the same output, exactly once.
 *
 * <p>Arguments: bootstrap servers, application id, topology (filter, join, window, check), stores (tuned or shipped), folder
 * of the state, folder of the schemas, id of the input's schema; for check also the topics of its input, of what keeps the
 * rules and of what breaks them.
 */
public final class Streams {
  private Streams() {}

  public static void main(String[] arguments) throws Exception {
    String topology = arguments[2];
    boolean tuned = arguments[3].equals("tuned");
    Properties config = new Properties();
    config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
    config.put(StreamsConfig.APPLICATION_ID_CONFIG, arguments[1]);
    config.put(StreamsConfig.STATE_DIR_CONFIG, arguments[4]);
    config.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
    config.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
    config.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
    config.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
    config.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
    if (tuned) {
      config.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0);
      config.put(StreamsConfig.TOPOLOGY_OPTIMIZATION_CONFIG, StreamsConfig.OPTIMIZE);
      config.put(
          StreamsConfig.DSL_STORE_SUPPLIERS_CLASS_CONFIG,
          BuiltInDslStoreSuppliers.InMemoryDslStoreSuppliers.class);
      config.put(StreamsConfig.producerPrefix("linger.ms"), 5);
      config.put(StreamsConfig.producerPrefix("batch.size"), 1_000_000);
      config.put(StreamsConfig.consumerPrefix("max.poll.records"), 5_000);
    }
    Path schemas = Path.of(arguments[5]);
    int id = Integer.parseInt(arguments[6]);
    StreamsBuilder builder = new StreamsBuilder(new org.apache.kafka.streams.TopologyConfig(new StreamsConfig(config)));
    switch (topology) {
      case "filter" -> filter(builder, schemas, id);
      case "join" -> join(builder, schemas, id);
      case "window" -> window(builder, schemas, id);
      case "check" -> check(builder, schemas, id, arguments[7], arguments[8], arguments[9]);
      default -> throw new IllegalArgumentException("no topology is called " + topology);
    }
    KafkaStreams streams = new KafkaStreams(builder.build(config), config);
    CountDownLatch ended = new CountDownLatch(1);
    Runtime.getRuntime()
        .addShutdownHook(
            new Thread(
                () -> {
                  streams.close(Duration.ofSeconds(10));
                  ended.countDown();
                }));
    streams.start();
    ended.await();
  }

  private static void filter(StreamsBuilder builder, Path schemas, int id) throws IOException {
    Schema order = schema(schemas, "Order.avsc");
    Schema out = schema(schemas, "Large.avsc");
    Avro in = new Avro(order, id);
    Avro made = new Avro(out, id);
    builder.stream("bench.orders", Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
        .mapValues(in::read)
        .filter((key, value) -> (long) value.get("cents") >= 5_000)
        .mapValues(
            value -> {
              GenericRecord row = new GenericData.Record(out);
              row.put("order_id", value.get("order_id"));
              row.put("cents", value.get("cents"));
              row.put("ordered_at", value.get("ordered_at"));
              row.put("who", hash("bench" + value.get("customer_id")));
              return made.write(row);
            })
        .to("bench.large", Produced.with(Serdes.ByteArray(), Serdes.ByteArray()));
  }

  private static void join(StreamsBuilder builder, Path schemas, int id) throws IOException {
    Schema side = schema(schemas, "Side.avsc");
    Schema out = schema(schemas, "Joined.avsc");
    Avro in = new Avro(side, id);
    Avro made = new Avro(out, id);
    Serde<byte[]> bytes = Serdes.ByteArray();
    KTable<byte[], byte[]> left = builder.table("bench.left", Consumed.with(keys(), bytes));
    KTable<byte[], byte[]> right = builder.table("bench.right", Consumed.with(keys(), bytes));
    left.join(
            right,
            (one, other) -> {
              GenericRecord a = in.read(one);
              GenericRecord b = in.read(other);
              GenericRecord row = new GenericData.Record(out);
              row.put("id", a.get("id"));
              row.put("text", a.get("text"));
              row.put("total", (long) a.get("number") + (long) b.get("number"));
              return made.write(row);
            })
        .toStream()
        .to("bench.joined", Produced.with(keys(), bytes));
  }

  private static void window(StreamsBuilder builder, Path schemas, int id) throws IOException {
    Schema order = schema(schemas, "Order.avsc");
    Schema out = schema(schemas, "Counted.avsc");
    Avro in = new Avro(order, id);
    Avro made = new Avro(out, id);
    builder.stream(
            "bench.orders",
            Consumed.with(keys(), Serdes.ByteArray())
                .withTimestampExtractor((record, previous) -> (long) in.read((byte[]) record.value()).get("ordered_at")))
        .groupByKey(Grouped.with(keys(), Serdes.ByteArray()))
        .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofHours(1), Duration.ZERO))
        .count(Materialized.with(keys(), Serdes.Long()))
        .toStream()
        .map(
            (window, count) -> {
              GenericRecord row = new GenericData.Record(out);
              row.put("customer_id", new String(window.key(), StandardCharsets.UTF_8));
              row.put("window_start", window.window().start());
              row.put("orders", count);
              byte[] key = (row.get("customer_id") + "|" + window.window().start()).getBytes(StandardCharsets.UTF_8);
              return org.apache.kafka.streams.KeyValue.pair(key, made.write(row));
            })
        .to("bench.counted", Produced.with(Serdes.ByteArray(), Serdes.ByteArray()));
  }

  /** The rules of the enforcer's orders.odcs.yaml by hand: an event is decoded, held against all of them and encoded. */
  private static void check(StreamsBuilder builder, Path schemas, int id, String input, String good, String bad)
      throws IOException {
    Avro avro = new Avro(schema(schemas, "Order.avsc"), id);
    Set<String> statuses = Set.of("NEW", "PAID", "SHIPPED", "CANCELLED");
    Pattern currency = Pattern.compile("^[A-Z]{3}$");
    Serde<byte[]> bytes = Serdes.ByteArray();
    builder.stream(input, Consumed.with(bytes, bytes))
        .mapValues(
            (key, value) -> {
              GenericRecord order = avro.read(value);
              boolean kept =
                  length(order.get("order_id"), 3, 40)
                      && length(order.get("customer_id"), 1, 40)
                      && order.get("customer_id").toString().equals(new String(key, StandardCharsets.UTF_8))
                      && within((int) order.get("store"), 1, 999)
                      && statuses.contains(order.get("status").toString())
                      && currency.matcher(order.get("currency").toString()).find()
                      && within((int) order.get("quantity"), 1, 1000)
                      && (double) order.get("unit_price") >= 0
                      && (double) order.get("discount") >= 0
                      && (double) order.get("total") >= 0
                      && length(order.get("channel"), 1, 20)
                      && (order.get("note") == null || length(order.get("note"), 0, 2000))
                      && (double) order.get("discount")
                          <= (double) order.get("unit_price") * (double) (int) order.get("quantity");
              return new Judged(kept, kept ? avro.write(order) : value);
            })
        .to(
            (key, judged, context) -> judged.kept() ? good : bad,
            Produced.with(bytes, Serdes.serdeFrom((topic, judged) -> judged.value(), (topic, value) -> null)));
  }

  private record Judged(boolean kept, byte[] value) {}

  private static boolean length(Object text, int least, int most) {
    String characters = text.toString();
    return within(characters.codePointCount(0, characters.length()), least, most);
  }

  private static boolean within(int value, int least, int most) {
    return least <= value && value <= most;
  }

  /** Keys are bytes; stores need no more of them. */
  private static Serde<byte[]> keys() {
    return Serdes.ByteArray();
  }

  private static Schema schema(Path folder, String name) throws IOException {
    return new Schema.Parser().parse(Files.readString(folder.resolve(name)));
  }

  private static String hash(String text) {
    try {
      MessageDigest digest = MessageDigest.getInstance("SHA-256");
      return HexFormat.of().formatHex(digest.digest(text.getBytes(StandardCharsets.UTF_8)));
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException(e);
    }
  }

  /** Values of one schema with its id in front. Used by one thread. */
  private static final class Avro {
    private final GenericDatumReader<GenericRecord> reader;
    private final GenericDatumWriter<GenericRecord> writer;
    private final byte[] head;
    private final ByteArrayOutputStream out = new ByteArrayOutputStream(256);
    private BinaryDecoder decoder;
    private BinaryEncoder encoder;

    Avro(Schema schema, int id) {
      reader = new GenericDatumReader<>(schema);
      writer = new GenericDatumWriter<>(schema);
      head = ByteBuffer.allocate(5).put((byte) 0).putInt(id).array();
    }

    GenericRecord read(byte[] value) {
      try {
        decoder = DecoderFactory.get().binaryDecoder(value, 5, value.length - 5, decoder);
        return reader.read(null, decoder);
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }

    byte[] write(GenericRecord row) {
      try {
        out.reset();
        out.write(head);
        encoder = EncoderFactory.get().binaryEncoder(out, encoder);
        writer.write(row, encoder);
        encoder.flush();
        return out.toByteArray();
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }
  }
}
