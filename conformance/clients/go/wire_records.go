package main

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// produced is an answer as text: error, offset where there is one, and which records are to blame.
func produced(answer kmsg.ProduceResponseTopicPartition) string {
	text := coded(answer.ErrorCode)
	if answer.BaseOffset >= 0 {
		text += fmt.Sprintf("@%d", answer.BaseOffset)
	}
	for _, each := range answer.ErrorRecords {
		text += fmt.Sprintf("[%d]", each.RelativeOffset)
	}
	return text
}

func initProducer(w *wire, id *string, timeout int32, at int16) *kmsg.InitProducerIDResponse {
	request := kmsg.NewPtrInitProducerIDRequest()
	request.TransactionalID, request.TransactionTimeoutMillis = id, timeout
	request.ProducerID, request.ProducerEpoch = -1, -1
	var answer *kmsg.InitProducerIDResponse
	// A broker that has just started loads its coordinator first.
	eventually("a producer id", 30, func() bool {
		answer = ask[*kmsg.InitProducerIDResponse](w, request, at)
		return answer.ErrorCode != 14 && answer.ErrorCode != 15 && answer.ErrorCode != 51
	})
	return answer
}

// try sends one batch on a connection of its own: a broker may hang up over it.
func try(b *broker, topic string, bytes []byte) (answer string) {
	w := b.wire()
	defer w.close()
	defer func() {
		if thrown := recover(); thrown == silence {
			answer = "silence"
		} else if thrown != nil {
			panic(thrown)
		}
	}()
	request := produceRequest(topic, 0, bytes)
	request.SetVersion(12)
	response, err := w.exchange(request)
	if err != nil {
		return "closed"
	}
	return produced(response.(*kmsg.ProduceResponse).Topics[0].Partitions[0])
}

var _ = add("produce_bad_batches", func(b *broker) string {
	topic := b.topic("bad", 1)
	good := func() []byte { return batch(nil, pair{"a", "1"}, pair{"b", "2"}) }
	header := func(edit func(*kmsg.RecordBatch)) []byte { return batch(edit, pair{"a", "1"}, pair{"b", "2"}) }
	crc := good()
	crc[len(crc)-1] ^= 1
	cut := good()
	length := good()
	binary.BigEndian.PutUint32(length[8:], uint32(len(length)+100))
	negative := good()
	binary.BigEndian.PutUint32(negative[8:], 0xffffffff)
	var results []string
	for _, each := range []struct {
		what  string
		bytes []byte
	}{
		{"good", good()},
		{"crc", crc},
		{"cut", cut[:len(cut)-3]},
		{"length", length},
		{"negative_length", negative},
		{"two_batches", append(good(), good()...)},
		{"magic_0", header(func(batch *kmsg.RecordBatch) { batch.Magic = 0 })},
		{"magic_1", header(func(batch *kmsg.RecordBatch) { batch.Magic = 1 })},
		{"magic_9", header(func(batch *kmsg.RecordBatch) { batch.Magic = 9 })},
		{"count", header(func(batch *kmsg.RecordBatch) { batch.NumRecords = 3 })},
		{"count_2^31", header(func(batch *kmsg.RecordBatch) { batch.NumRecords = 1<<31 - 1; batch.LastOffsetDelta = 1<<31 - 2 })},
		{"count_0", batch(func(batch *kmsg.RecordBatch) { batch.LastOffsetDelta = 0 })},
		{"last_offset", header(func(batch *kmsg.RecordBatch) { batch.LastOffsetDelta = 7 })},
		{"base_offset", header(func(batch *kmsg.RecordBatch) { batch.FirstOffset = 5 })},
		{"control", header(func(batch *kmsg.RecordBatch) { batch.Attributes |= 1 << 5 })},
		{"sequence_without_id", header(func(batch *kmsg.RecordBatch) { batch.FirstSequence = 0 })},
		{"id_without_sequence", header(func(batch *kmsg.RecordBatch) { batch.ProducerID, batch.ProducerEpoch = 1, 0 })},
	} {
		results = append(results, each.what+"="+try(b, topic, each.bytes))
	}
	eventually("what is good", 20, func() bool { return len(b.read(topic, false)) > 0 })
	return strings.Join(results, " ") + " left=" + b.values(topic, false)
})

var _ = add("produce_bad_compression", func(b *broker) string {
	topic := b.topic("compression", 1)
	var results []string
	for codec, what := range []string{"none", "not_gzip", "not_snappy", "not_lz4", "not_zstd", "codec_5", "codec_6", "codec_7"} {
		claim := func(batch *kmsg.RecordBatch) { batch.Attributes |= int16(codec) }
		results = append(results, what+"="+try(b, topic, batch(claim, pair{"a", "1"}, pair{"b", "2"})))
	}
	return strings.Join(results, " ") + " left=" + b.values(topic, false)
})

var _ = add("produce_records_that_are_none", func(b *broker) string {
	topic := b.topic("none-records", 1)
	cut := func(batch *kmsg.RecordBatch) { batch.Records = batch.Records[:len(batch.Records)-2] }
	more := func(batch *kmsg.RecordBatch) { batch.Records = append(batch.Records, 0, 0) }
	return fmt.Sprint("cut=", try(b, topic, batch(cut, pair{"a", "1"}, pair{"b", "2"})),
		" trailing=", try(b, topic, batch(more, pair{"a", "1"}, pair{"b", "2"})), " left=<", b.values(topic, false), ">")
})

var _ = add("produce_null_records", func(b *broker) string {
	topic := b.topic("null", 1)
	return fmt.Sprint("null=", try(b, topic, nil), " then=", produced(b.wire().produce(topic, batch(nil, pair{"a", "1"}))))
})

var _ = add("produce_acks_and_places", func(b *broker) string {
	topic := b.topic("places", 1)
	w := b.wire()
	defer w.close()
	good := batch(nil, pair{"a", "1"})
	acks := func(count int16) func(*kmsg.ProduceRequest) {
		return func(request *kmsg.ProduceRequest) { request.Acks = count }
	}
	place := func(topic string, partition int32) func(*kmsg.ProduceRequest) {
		return func(request *kmsg.ProduceRequest) {
			request.Topics[0].Topic, request.Topics[0].Partitions[0].Partition = topic, partition
		}
	}
	unknown := func(request *kmsg.ProduceRequest) {
		request.Version, request.Topics[0].Topic, request.Topics[0].TopicID = 13, "", [16]byte{9, 9}
	}
	return fmt.Sprint(
		"acks_2=", produced(w.produce(topic, good, acks(2))),
		" partition=", produced(w.produce(topic, good, place(topic, 5))),
		" negative=", produced(w.produce(topic, good, place(topic, -1))),
		" topic=", produced(w.produce(topic, good, place(b.name("nowhere"), 0))),
		" name=", produced(w.produce(topic, good, place("a b", 0))),
		" id=", produced(w.produce(topic, good, unknown)),
		" then=", produced(w.produce(topic, good)))
})

var _ = add("produce_sequences", func(b *broker) string {
	topic := b.topic("sequences", 1)
	w := b.wire()
	defer w.close()
	id := initProducer(w, nil, 60000, 4).ProducerID
	step := func(epoch int16, sequence int32, count int) string {
		records := make([]pair, count)
		for at := range records {
			records[at] = pair{"k", fmt.Sprint(sequence + int32(at))}
		}
		return produced(w.produce(topic, batch(by(id, epoch, sequence), records...)))
	}
	results := []string{"first_not_zero=" + step(0, 5, 1)}
	topic = b.topic("sequences-more", 1)
	for at := range int32(7) {
		results = append(results, step(0, at*2, 2))
	}
	return strings.Join(append(results,
		"same_again="+step(0, 12, 2),
		"third_before="+step(0, 8, 2),
		"too_old="+step(0, 0, 2),
		"half_of_one="+step(0, 12, 1),
		"overlap="+step(0, 13, 2),
		"gap="+step(0, 20, 1),
		"next="+step(0, 14, 1),
		"new_epoch_gap="+step(1, 3, 1),
		"new_epoch="+step(1, 0, 1),
		"old_epoch="+step(0, 15, 1),
		"left="+fmt.Sprint(len(b.read(topic, false)))), " ")
})

var _ = add("produce_sequence_wraps", func(b *broker) string {
	topic := b.topic("wraps", 1)
	w := b.wire()
	defer w.close()
	id := initProducer(w, nil, 60000, 4).ProducerID
	step := func(sequence int32, count int) string {
		records := make([]pair, count)
		for at := range records {
			records[at] = pair{"k", "v"}
		}
		return produced(w.produce(topic, batch(by(id, 0, sequence), records...)))
	}
	const last = 1<<31 - 1
	return fmt.Sprint(step(last-2, 2), " ", step(last, 3), " ", step(2, 1), " again=", step(last, 3))
})

var _ = add("produce_too_large_and_keyless", func(b *broker) string {
	small := b.topic("small", 1, "max.message.bytes=500")
	compact := b.topic("compact", 1, "cleanup.policy=compact")
	old := b.topic("old", 1, "message.timestamp.before.max.ms=1000")
	w := b.wire()
	defer w.close()
	past := func(batch *kmsg.RecordBatch) { batch.FirstTimestamp, batch.MaxTimestamp = 1000, 1000 }
	return fmt.Sprint(
		"large=", produced(w.produce(small, batch(nil, pair{"", strings.Repeat("x", 1000)}))),
		" keyless=", produced(w.produce(compact, batch(nil, pair{"a", "1"}, pair{"", "2"}, pair{"c", "3"}, pair{"", "4"}))),
		" time=", produced(w.produce(old, batch(past, pair{"a", "1"}, pair{"b", "2"}))),
		" left=", len(b.read(small, false))+len(b.read(compact, false))+len(b.read(old, false)))
})

func (b *broker) topicID(topic string) [16]byte {
	found, err := b.admin.Metadata(seconds(10), topic)
	must(err, "metadata")
	return found.Topics[topic].ID
}

func fetchRequest(id [16]byte, topic string, partition int32, from int64) *kmsg.FetchRequest {
	request := kmsg.NewPtrFetchRequest()
	request.ReplicaID, request.MaxWaitMillis, request.MinBytes, request.MaxBytes = -1, 100, 1, 1<<20
	request.SessionEpoch = -1
	of := kmsg.NewFetchRequestTopic()
	of.Topic, of.TopicID = topic, id
	part := kmsg.NewFetchRequestTopicPartition()
	part.Partition, part.FetchOffset, part.PartitionMaxBytes = partition, from, 1<<20
	part.CurrentLeaderEpoch, part.LastFetchedEpoch, part.LogStartOffset = -1, -1, -1
	of.Partitions = append(of.Partitions, part)
	request.Topics = append(request.Topics, of)
	return request
}

// fetched is an answer as text.
func fetched(answer *kmsg.FetchResponse) string {
	text := coded(answer.ErrorCode)
	for _, topic := range answer.Topics {
		for _, part := range topic.Partitions {
			text += fmt.Sprintf("/%s,end=%d,stable=%d,start=%d,bytes=%v,aborted=%d", coded(part.ErrorCode), part.HighWatermark,
				part.LastStableOffset, part.LogStartOffset, len(part.RecordBatches) > 0, len(part.AbortedTransactions))
		}
	}
	return text
}

var _ = add("fetch_places_and_epochs", func(b *broker) string {
	topic := b.topic("fetch", 1)
	id := b.topicID(topic)
	b.send(topic, "1", "2", "3")
	w := b.wire()
	defer w.close()
	get := func(change func(*kmsg.FetchRequest)) string {
		request := fetchRequest(id, topic, 0, 0)
		change(request)
		return fetched(ask[*kmsg.FetchResponse](w, request, 17))
	}
	part := func(request *kmsg.FetchRequest) *kmsg.FetchRequestTopicPartition {
		return &request.Topics[0].Partitions[0]
	}
	return fmt.Sprint(
		"all=", get(func(*kmsg.FetchRequest) {}),
		" end=", get(func(r *kmsg.FetchRequest) { part(r).FetchOffset = 3 }),
		" past=", get(func(r *kmsg.FetchRequest) { part(r).FetchOffset = 4 }),
		" negative=", get(func(r *kmsg.FetchRequest) { part(r).FetchOffset = -1 }),
		" partition=", get(func(r *kmsg.FetchRequest) { part(r).Partition = 3 }),
		" id=", get(func(r *kmsg.FetchRequest) { r.Topics[0].TopicID = [16]byte{7} }),
		" epoch_ahead=", get(func(r *kmsg.FetchRequest) { part(r).CurrentLeaderEpoch = 99 }),
		" one_byte=", get(func(r *kmsg.FetchRequest) { r.MaxBytes, part(r).PartitionMaxBytes = 1, 1 }),
		" min_bytes=", get(func(r *kmsg.FetchRequest) { r.MinBytes = 1 << 20 }))
})

var _ = add("fetch_sessions", func(b *broker) string {
	topic := b.topic("session", 2)
	id := b.topicID(topic)
	w := b.wire()
	defer w.close()
	session := func(number, epoch int32, request *kmsg.FetchRequest) *kmsg.FetchResponse {
		request.SessionID, request.SessionEpoch = number, epoch
		return ask[*kmsg.FetchResponse](w, request, 17)
	}
	nothing := func() *kmsg.FetchRequest {
		request := fetchRequest(id, topic, 0, 0)
		request.Topics = nil
		return request
	}
	first := session(0, 0, fetchRequest(id, topic, 0, 0))
	if first.SessionID == 0 {
		// A broker may keep no sessions: every answer is then whole.
		return "none: unknown=" + fetched(session(77, 1, fetchRequest(id, topic, 0, 0)))
	}
	empty := session(first.SessionID, 1, nothing())
	b.send(topic, "1")
	second := session(first.SessionID, 2, nothing())
	wrong := session(first.SessionID, 9, nothing())
	unknown := session(first.SessionID+12345, 1, nothing())
	return fmt.Sprint("first=", fetched(first), " empty=", fetched(empty), " second=", fetched(second),
		" epoch=", fetched(wrong), " unknown=", fetched(unknown))
})

var _ = add("fetch_waits_for_data", func(b *broker) string {
	topic := b.topic("waits", 1)
	id := b.topicID(topic)
	w := b.wire()
	defer w.close()
	answer := make(chan string, 1)
	go func() {
		defer func() {
			if recover() != nil {
				answer <- "failed"
			}
		}()
		request := fetchRequest(id, topic, 0, 0)
		request.MaxWaitMillis = 20_000
		start := time.Now()
		text := fetched(ask[*kmsg.FetchResponse](w, request, 17))
		answer <- fmt.Sprint(text, " before_the_wait_ends=", time.Since(start) < 15*time.Second)
	}()
	other := b.topic("waits-other", 1)
	b.send(other, "elsewhere")
	select {
	case text := <-answer:
		return "too early: " + text
	default:
	}
	b.send(topic, "1")
	return <-answer
})

var _ = add("list_offsets_special", func(b *broker) string {
	topic := b.topic("special", 1)
	b.send(topic, "1", "2", "3")
	w := b.wire()
	defer w.close()
	get := func(stamp int64, partition, epoch int32) string {
		request := kmsg.NewPtrListOffsetsRequest()
		request.ReplicaID = -1
		of := kmsg.NewListOffsetsRequestTopic()
		of.Topic = topic
		part := kmsg.NewListOffsetsRequestTopicPartition()
		part.Partition, part.Timestamp, part.CurrentLeaderEpoch = partition, stamp, epoch
		of.Partitions = append(of.Partitions, part)
		request.Topics = append(request.Topics, of)
		got := ask[*kmsg.ListOffsetsResponse](w, request, 11).Topics[0].Partitions[0]
		return fmt.Sprintf("%s@%d/epoch=%d", coded(got.ErrorCode), got.Offset, got.LeaderEpoch)
	}
	var results []string
	for stamp := int64(-1); stamp >= -7; stamp-- {
		results = append(results, fmt.Sprintf("%d=%s", stamp, get(stamp, 0, -1)))
	}
	return strings.Join(append(results, "future="+get(1<<60, 0, -1), "partition="+get(-1, 4, -1), "epoch="+get(-1, 0, 99)), " ")
})

var _ = add("offset_for_leader_epoch", func(b *broker) string {
	topic := b.topic("epochs", 1)
	b.send(topic, "1", "2", "3")
	w := b.wire()
	defer w.close()
	get := func(epoch, current int32) string {
		request := kmsg.NewPtrOffsetForLeaderEpochRequest()
		request.ReplicaID = -1
		of := kmsg.NewOffsetForLeaderEpochRequestTopic()
		of.Topic = topic
		part := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		part.LeaderEpoch, part.CurrentLeaderEpoch = epoch, current
		of.Partitions = append(of.Partitions, part)
		request.Topics = append(request.Topics, of)
		got := ask[*kmsg.OffsetForLeaderEpochResponse](w, request, 4).Topics[0].Partitions[0]
		return fmt.Sprintf("%s/%d@%d", coded(got.ErrorCode), got.LeaderEpoch, got.EndOffset)
	}
	return fmt.Sprint("now=", get(0, -1), " ahead=", get(50, -1), " current_ahead=", get(0, 50))
})

var _ = add("frames_that_are_none", func(b *broker) string {
	try := func(frame []byte) string {
		w := b.wire()
		defer w.close()
		w.write(frame)
		body, closed := w.read()
		if closed {
			return "closed"
		}
		return fmt.Sprintf("answered(%v)", len(body) > 0)
	}
	api := func(key, version int16, more ...byte) []byte {
		header := binary.BigEndian.AppendUint16(nil, uint16(key))
		header = binary.BigEndian.AppendUint16(header, uint16(version))
		header = append(append(binary.BigEndian.AppendUint32(header, 7), 0xff, 0xff), more...)
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(header))), header...)
	}
	versions := func() string {
		w := b.wire()
		defer w.close()
		// A version that is too new still has the flexible header, and is answered in version 0.
		w.write(api(18, 99, 0, 2, 'a', 2, 'b', 0))
		body, closed := w.read()
		if closed {
			return "closed"
		}
		response := kmsg.NewPtrApiVersionsResponse()
		must(response.ReadFrom(body[4:]), "version 0 of the answer")
		return fmt.Sprintf("%s,listed=%v", coded(response.ErrorCode), len(response.ApiKeys) > 0)
	}
	return fmt.Sprint(
		"negative=", try([]byte{0xff, 0xff, 0xff, 0xff}),
		" two_gib=", try([]byte{0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 12}),
		" unknown_api=", try(api(9999, 0)),
		" negative_api=", try(api(-1, 0)),
		" unknown_version=", try(api(3, 99)),
		" body_missing=", try(api(0, 9)),
		" api_versions_99=", versions())
})
