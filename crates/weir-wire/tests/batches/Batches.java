// Writes java.txt: batches of Kafka's own classes and what those classes read in them.
// java -cp '<libs of kafka_2.13:4.3.1>/*' Batches.java > java.txt
// With files as arguments it reads the batches in them instead, which shows that Java understands ours.

import java.nio.ByteBuffer;
import java.nio.file.*;
import java.util.*;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.internal.*;
import org.apache.kafka.common.record.internal.Record;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.utils.*;

public class Batches {
    static final HexFormat HEX = HexFormat.of();

    public static void main(String[] args) throws Exception {
        for (String file : args) {
            describe(Path.of(file).getFileName().toString(), MemoryRecords.readableRecords(ByteBuffer.wrap(Files.readAllBytes(Path.of(file)))));
        }
        if (args.length > 0) return;
        for (CompressionType type : CompressionType.values()) {
            Compression codec = Compression.of(type).build();
            describe(type.name + " three records", MemoryRecords.withRecords(RecordBatch.MAGIC_VALUE_V2, 500L, codec, TimestampType.CREATE_TIME,
                -1L, (short) -1, -1, 7, false, some()));
            describe(type.name + " idempotent", MemoryRecords.withIdempotentRecords(codec, 4001L, (short) 3, 2147483646, some()));
            describe(type.name + " transactional", MemoryRecords.withTransactionalRecords(codec, 4002L, (short) 0, 0, some()));
            describe(type.name + " log append time", builder(codec, TimestampType.LOG_APPEND_TIME, RecordBatch.NO_TIMESTAMP, false));
            describe(type.name + " delete horizon", builder(codec, TimestampType.CREATE_TIME, 1700000009999L, false));
            if (type != CompressionType.NONE) describe(type.name + " several blocks", MemoryRecords.withRecords(codec, large()));
        }
        describe("marker of a commit", MemoryRecords.withEndTransactionMarker(12L, 1700000000000L, 4, 77L, (short) 2,
            new EndTransactionMarker(ControlRecordType.COMMIT, 9)));
        describe("marker of an abort", MemoryRecords.withEndTransactionMarker(13L, 1700000000001L, 4, 77L, (short) 2,
            new EndTransactionMarker(ControlRecordType.ABORT, -1)));
        ByteBuffer empty = ByteBuffer.allocate(61);
        DefaultRecordBatch.writeEmptyHeader(empty, RecordBatch.MAGIC_VALUE_V2, 5L, (short) 1, 3, 100L, 109L, 2, TimestampType.CREATE_TIME, 1700000000000L, true, false);
        empty.flip();
        describe("emptied by compaction", MemoryRecords.readableRecords(empty));
    }

    static SimpleRecord[] some() {
        return new SimpleRecord[] {
            new SimpleRecord(1700000000000L, "key".getBytes(), "value".getBytes(), new Header[] {
                new RecordHeader("name", "content".getBytes()), new RecordHeader("name", null), new RecordHeader("", new byte[0])}),
            new SimpleRecord(1699999999000L, null, new byte[0]),
            new SimpleRecord(1700000100000L, new byte[0], (byte[]) null),
        };
    }

    static SimpleRecord[] large() {
        Random random = new Random(1);
        SimpleRecord[] records = new SimpleRecord[12];
        for (int i = 0; i < records.length; i++) {
            byte[] value = new byte[9000];
            for (int j = 0; j < value.length; j++) value[j] = j % 100 < 98 ? (byte) i : (byte) random.nextInt();
            records[i] = new SimpleRecord(1700000000000L + i, value);
        }
        return records;
    }

    static MemoryRecords builder(Compression codec, TimestampType type, long horizon, boolean control) {
        MemoryRecordsBuilder builder = new MemoryRecordsBuilder(new ByteBufferOutputStream(1024), RecordBatch.MAGIC_VALUE_V2, codec, type,
            1000L, 1700000005555L, -1L, (short) -1, -1, false, control, 11, 1 << 20, horizon);
        // What compaction left: gaps in the offsets.
        long offset = 1001;
        for (SimpleRecord record : some()) {
            builder.appendWithOffset(offset, record);
            offset += 3;
        }
        builder.overrideLastOffset(1020);
        return builder.build();
    }

    static void describe(String name, MemoryRecords records) {
        for (MutableRecordBatch batch : records.batches()) {
            batch.ensureValid();
            System.out.println("[" + name + "]");
            System.out.printf("batch offsets=%d..%d count=%d leader_epoch=%d codec=%s timestamps=%s transactional=%b control=%b max_timestamp=%d delete_horizon=%s producer=%d,%d sequences=%d..%d%n",
                batch.baseOffset(), batch.lastOffset(), batch.countOrNull(), batch.partitionLeaderEpoch(), batch.compressionType().name,
                batch.timestampType() == TimestampType.CREATE_TIME ? "create" : "append", batch.isTransactional(), batch.isControlBatch(), batch.maxTimestamp(),
                batch.deleteHorizonMs().isPresent() ? batch.deleteHorizonMs().getAsLong() : "none", batch.producerId(), batch.producerEpoch(), batch.baseSequence(), batch.lastSequence());
            for (Record record : batch) {
                StringBuilder line = new StringBuilder("record offset=" + record.offset() + " timestamp=" + record.timestamp()
                    + " key=" + text(record.key()) + " value=" + text(record.value()));
                for (Header header : record.headers()) {
                    line.append(" ").append(text(ByteBuffer.wrap(header.key().getBytes()))).append(":").append(text(header.value() == null ? null : ByteBuffer.wrap(header.value())));
                }
                System.out.println(line);
            }
            ByteBuffer bytes = ByteBuffer.allocate(batch.sizeInBytes());
            batch.writeTo(bytes);
            String hex = HEX.formatHex(bytes.array());
            for (int at = 0; at < hex.length(); at += 120) System.out.println(hex.substring(at, Math.min(at + 120, hex.length())));
        }
    }

    // A long part stands as its length and CRC-32C.
    static String text(ByteBuffer part) {
        if (part == null) return "null";
        byte[] bytes = new byte[part.remaining()];
        part.duplicate().get(bytes);
        if (bytes.length <= 40) return "'" + HEX.formatHex(bytes) + "'";
        return bytes.length + "/" + Long.toHexString(Crc32C.compute(bytes, 0, bytes.length));
    }
}
