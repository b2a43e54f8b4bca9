package main

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func asKafka(err error, into **kerr.Error) bool { return errors.As(err, into) }

// wire is one bare connection: requests in the version asked for, bytes as given.
type wire struct {
	conn net.Conn
	next int32
}

func (b *broker) wire() *wire {
	conn, err := net.DialTimeout("tcp", b.bootstrap, 5*time.Second)
	must(err, "connect")
	return &wire{conn: conn}
}

func (w *wire) close() { _ = w.conn.Close() }

const (
	patience = 10 * time.Second
	silence  = failure("no answer in 10 s")
)

// write sends a frame; read awaits one, `closed` says that the broker hung up instead.
func (w *wire) write(frame []byte) {
	_, err := w.conn.Write(frame)
	must(err, "write")
}

func (w *wire) read() (body []byte, closed bool) {
	_ = w.conn.SetReadDeadline(time.Now().Add(patience))
	var size [4]byte
	if _, err := io.ReadFull(w.conn, size[:]); err != nil {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			panic(silence)
		}
		return nil, true
	}
	body = make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(w.conn, body)
	must(err, "read")
	return body, false
}

var frames = kmsg.NewRequestFormatter(kmsg.FormatterClientID("clients"))

// exchange sends a request in its own version and reads the answer; no answer where the broker hung up.
func (w *wire) exchange(request kmsg.Request) (kmsg.Response, error) {
	w.next++
	w.write(frames.AppendRequest(nil, request, w.next))
	body, closed := w.read()
	if closed {
		return nil, io.EOF
	}
	if got := int32(binary.BigEndian.Uint32(body)); got != w.next {
		fail("correlation id %d, expected %d", got, w.next)
	}
	body = body[4:]
	response := request.ResponseKind()
	if response.IsFlexible() && response.Key() != 18 {
		if body[0] != 0 {
			fail("tagged fields in the header of a response")
		}
		body = body[1:]
	}
	return response, response.ReadFrom(body)
}

// ask is exchange for a request that must be answered.
func ask[T kmsg.Response](w *wire, request kmsg.Request, version int16) T {
	request.SetVersion(version)
	response, err := w.exchange(request)
	if err != nil {
		fail("%s version %d: %v", kmsg.NameForKey(request.Key()), version, err)
	}
	return response.(T)
}

type pair struct{ key, value string }

// batch is a record batch v2 with the checksum right; `edit` changes the header beforehand.
func batch(edit func(*kmsg.RecordBatch), records ...pair) []byte {
	made := kmsg.NewRecordBatch()
	made.Magic, made.ProducerID, made.ProducerEpoch, made.FirstSequence = 2, -1, -1, -1
	made.PartitionLeaderEpoch = -1
	made.FirstTimestamp = time.Now().UnixMilli()
	made.MaxTimestamp = made.FirstTimestamp
	made.LastOffsetDelta, made.NumRecords = int32(len(records)-1), int32(len(records))
	for at, each := range records {
		record := kmsg.NewRecord()
		record.OffsetDelta, record.Value = int32(at), []byte(each.value)
		if each.key != "" {
			record.Key = []byte(each.key)
		}
		record.Length = int32(len(record.AppendTo(nil)) - 1)
		made.Records = record.AppendTo(made.Records)
	}
	if edit != nil {
		edit(&made)
	}
	return seal(made.AppendTo(nil))
}

// seal makes length and checksum right.
func seal(bytes []byte) []byte {
	binary.BigEndian.PutUint32(bytes[8:], uint32(len(bytes)-12))
	binary.BigEndian.PutUint32(bytes[17:], crc32.Checksum(bytes[21:], crc32.MakeTable(crc32.Castagnoli)))
	return bytes
}

// by marks a batch as one of an idempotent producer.
func by(id int64, epoch int16, sequence int32) func(*kmsg.RecordBatch) {
	return func(batch *kmsg.RecordBatch) {
		batch.ProducerID, batch.ProducerEpoch, batch.FirstSequence = id, epoch, sequence
	}
}

// transactional marks it as part of a transaction besides.
func transactional(id int64, epoch int16, sequence int32) func(*kmsg.RecordBatch) {
	return func(batch *kmsg.RecordBatch) {
		by(id, epoch, sequence)(batch)
		batch.Attributes |= 1 << 4
	}
}

func produceRequest(topic string, partition int32, records []byte) *kmsg.ProduceRequest {
	request := kmsg.NewPtrProduceRequest()
	request.Acks, request.TimeoutMillis = -1, 5000
	to := kmsg.NewProduceRequestTopic()
	to.Topic = topic
	part := kmsg.NewProduceRequestTopicPartition()
	part.Partition, part.Records = partition, records
	to.Partitions = append(to.Partitions, part)
	request.Topics = append(request.Topics, to)
	return request
}

// produce writes bytes as they are and returns the answer for their partition.
func (w *wire) produce(topic string, records []byte, change ...func(*kmsg.ProduceRequest)) kmsg.ProduceResponseTopicPartition {
	request := produceRequest(topic, 0, records)
	for _, each := range change {
		each(request)
	}
	version := request.Version
	if version == 0 {
		version = 12
	}
	return ask[*kmsg.ProduceResponse](w, request, version).Topics[0].Partitions[0]
}

func inTransaction(id string) func(*kmsg.ProduceRequest) {
	return func(request *kmsg.ProduceRequest) { request.TransactionID = &id }
}

func version(number int16) func(*kmsg.ProduceRequest) {
	return func(request *kmsg.ProduceRequest) { request.Version = number }
}
