package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func assorted(topic string) []*kgo.Record {
	records := []*kgo.Record{
		{Key: []byte("k"), Value: []byte("v")},
		{Value: []byte("no key")},
		{Key: []byte("tombstone")},
		{Key: []byte{}, Value: []byte{}},
		{Key: []byte("h"), Value: []byte("headers"), Headers: []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}, {Key: "null"}, {Key: "", Value: []byte{}}}},
		{Value: []byte(strings.Repeat("long ", 100_000))},
	}
	for at := range 200 {
		records = append(records, &kgo.Record{Key: fmt.Append(nil, at), Value: []byte(strings.Repeat("repeat ", 40))})
	}
	for _, record := range records {
		record.Topic = topic
	}
	return records
}

func shown(record *kgo.Record) string {
	text := fmt.Sprintf("%q(%v) %q(%v)", record.Key, record.Key == nil, record.Value, record.Value == nil)
	for _, header := range record.Headers {
		text += fmt.Sprintf(" %s=%q(%v)", header.Key, header.Value, header.Value == nil)
	}
	return text
}

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

func roundTrip(codec string) func(b *broker) string {
	return func(b *broker) string {
		topic := b.topic(codec, 1)
		made := b.open(kgo.ProducerBatchCompression(codecs[codec]))
		defer made.Close()
		sent := assorted(topic)
		send(made, sent...)
		got := b.read(topic, false)
		expect("count", len(got), len(sent))
		for at := range sent {
			expect(fmt.Sprint("record ", at), shown(got[at]), shown(sent[at]))
			expect("offset", got[at].Offset, int64(at))
		}
		return fmt.Sprint("records=", len(got))
	}
}

var _ = add("produce_consume_none", roundTrip("none"))
var _ = add("produce_consume_gzip", roundTrip("gzip"))
var _ = add("produce_consume_snappy", roundTrip("snappy"))
var _ = add("produce_consume_lz4", roundTrip("lz4"))
var _ = add("produce_consume_zstd", roundTrip("zstd"))

// cut is a connection that ends after so many more answers were asked for: the request has arrived, its answer never will.
type cut struct {
	net.Conn
	reads *atomic.Int64
	every int64
}

func (c cut) Read(into []byte) (int, error) {
	count, err := c.Conn.Read(into)
	if err == nil && c.reads.Add(1)%c.every == 0 {
		_ = c.Conn.Close()
		return 0, net.ErrClosed
	}
	return count, err
}

var _ = add("idempotence_over_cut_connections", func(b *broker) string {
	topic := b.topic("cut", 1)
	reads := new(atomic.Int64)
	made := b.open(
		kgo.Dialer(func(within context.Context, network, host string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(within, network, host)
			return cut{conn, reads, 7}, err
		}),
		kgo.MaxBufferedRecords(20), kgo.ProducerBatchMaxBytes(1000), kgo.RetryBackoffFn(func(int) time.Duration { return 10 * time.Millisecond }),
		kgo.ProducerLinger(time.Millisecond), kgo.RecordRetries(1000), kgo.RequestRetries(1000),
	)
	defer made.Close()
	for at := range 3000 {
		made.Produce(context.Background(), &kgo.Record{Topic: topic, Value: fmt.Append(nil, at)}, func(_ *kgo.Record, err error) {
			if err != nil {
				reads.Add(1 << 40)
			}
		})
	}
	must(made.Flush(seconds(60)), "flush")
	expect("refused", reads.Load() < 1<<40, true)
	got := b.read(topic, false)
	expect("count", len(got), 3000)
	for at, record := range got {
		expect("order", string(record.Value), fmt.Sprint(at))
	}
	expect("connections were cut", reads.Load() > 50, true)
	return fmt.Sprint("records=", len(got))
})

var _ = add("two_partitions_one_fetch_each_in_order", func(b *broker) string {
	topic := b.topic("order", 4)
	made := b.open(kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	defer made.Close()
	var records []*kgo.Record
	for at := range 4000 {
		records = append(records, &kgo.Record{Topic: topic, Value: fmt.Append(nil, at)})
	}
	send(made, records...)
	counts, last := map[int32]int{}, map[int32]int64{}
	for _, record := range b.read(topic, false) {
		counts[record.Partition]++
		expect("offset", record.Offset, last[record.Partition])
		last[record.Partition]++
	}
	return fmt.Sprint("counts=", counts[0], counts[1], counts[2], counts[3])
})

var _ = add("look_up_by_time", func(b *broker) string {
	topic := b.topic("times", 1)
	made := b.open()
	defer made.Close()
	base := time.Now().Add(-time.Hour).UnixMilli()
	for at := range 20 {
		send(made, &kgo.Record{Topic: topic, Value: []byte("v"), Timestamp: time.UnixMilli(base + int64(at)*1000)})
	}
	var texts []string
	for _, stamp := range []int64{base - 5, base, base + 1, base + 10_500, base + 19_000, base + 19_001} {
		found, err := b.admin.ListOffsetsAfterMilli(seconds(20), stamp, topic)
		must(err, "list offsets")
		one, _ := found.Lookup(topic, 0)
		texts = append(texts, fmt.Sprintf("%d/%v", one.Offset, one.Timestamp == -1))
	}
	return strings.Join(texts, " ")
})

var _ = add("compaction_keeps_offsets", func(b *broker) string {
	topic := b.topic("compaction", 1, "cleanup.policy=compact", "segment.ms=200", "min.cleanable.dirty.ratio=0.01", "max.compaction.lag.ms=500")
	made := b.open()
	defer made.Close()
	for at := range 10 {
		for key := range 20 {
			send(made, &kgo.Record{Topic: topic, Key: fmt.Append(nil, key), Value: fmt.Append(nil, at)})
		}
	}
	var offsets []int64
	eventually("one record per key", 60, func() bool {
		send(made, &kgo.Record{Topic: topic, Key: []byte("roll"), Value: []byte("roll")})
		time.Sleep(300 * time.Millisecond)
		offsets = nil
		for _, record := range b.read(topic, false) {
			if string(record.Key) != "roll" {
				offsets = append(offsets, record.Offset)
			}
		}
		return len(offsets) == 20
	})
	return fmt.Sprint("first=", slices.Min(offsets), " last=", slices.Max(offsets))
})
