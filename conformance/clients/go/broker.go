package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// broker is one bootstrap address, and names that no other run on it has.
type broker struct {
	bootstrap string
	run       string
	client    *kgo.Client
	admin     *kadm.Client
}

func connect(bootstrap string) *broker {
	var random [4]byte
	_, _ = rand.Read(random[:])
	made, err := kgo.NewClient(kgo.SeedBrokers(bootstrap))
	must(err, "client")
	return &broker{bootstrap, hex.EncodeToString(random[:]), made, kadm.NewClient(made)}
}

func (b *broker) name(what string) string { return "go-" + what + "-" + b.run }

var unequal = []*regexp.Regexp{regexp.MustCompile(`127\.0\.0\.1:\d+`), regexp.MustCompile(`\d{4,}`), regexp.MustCompile(`\s+`)}

// plain is a text without what differs from run to run.
func (b *broker) plain(text string) string {
	text = strings.ReplaceAll(text, b.run, "RUN")
	for at, with := range []string{"HOST", "N", " "} {
		text = unequal[at].ReplaceAllString(text, with)
	}
	return text[:min(len(text), 300)]
}

func seconds(count int) context.Context {
	within, cancel := context.WithTimeout(context.Background(), time.Duration(count)*time.Second)
	_ = context.AfterFunc(within, cancel)
	return within
}

func (b *broker) topic(what string, partitions int32, settings ...string) string {
	configs := map[string]*string{}
	for _, setting := range settings {
		key, value, _ := strings.Cut(setting, "=")
		configs[key] = kadm.StringPtr(value)
	}
	topic := b.name(what)
	_, err := b.admin.CreateTopic(seconds(60), partitions, 1, configs, topic)
	must(err, "create topic")
	eventually("a leader for each partition", 60, func() bool {
		found, err := b.admin.Metadata(seconds(10), topic)
		if err != nil || found.Topics[topic].Err != nil || len(found.Topics[topic].Partitions) != int(partitions) {
			return false
		}
		for _, each := range found.Topics[topic].Partitions {
			if each.Leader < 0 || each.Err != nil {
				return false
			}
		}
		// The answer comes before the broker takes up its part as leader.
		ends, err := b.admin.ListEndOffsets(seconds(10), topic)
		return err == nil && ends.Error() == nil
	})
	return topic
}

func (b *broker) open(options ...kgo.Opt) *kgo.Client {
	base := []kgo.Opt{
		kgo.SeedBrokers(b.bootstrap),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(5 * time.Millisecond),
		kgo.FetchMaxWait(100 * time.Millisecond),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.SessionTimeout(6 * time.Second),
		kgo.HeartbeatInterval(300 * time.Millisecond),
		kgo.MetadataMinAge(100 * time.Millisecond),
	}
	made, err := kgo.NewClient(append(base, options...)...)
	must(err, "client")
	return made
}

// send writes records and says what became of each: its offset, or the error's name.
func send(to *kgo.Client, records ...*kgo.Record) []string {
	reports := make([]string, len(records))
	for at, record := range records {
		to.Produce(seconds(40), record, func(record *kgo.Record, err error) {
			reports[at] = fmt.Sprint(record.Offset)
			if err != nil {
				reports[at] = name(err)
			}
		})
	}
	must(to.Flush(seconds(60)), "flush")
	return reports
}

func (b *broker) send(topic string, values ...string) []string {
	made := b.open()
	defer made.Close()
	records := make([]*kgo.Record, len(values))
	for at, value := range values {
		records[at] = &kgo.Record{Topic: topic, Value: []byte(value)}
	}
	return send(made, records...)
}

// read is all that a fresh reader sees up to the end that the broker states for its isolation level.
func (b *broker) read(topic string, committed bool) []*kgo.Record {
	ends, isolation := b.admin.ListEndOffsets, kgo.ReadUncommitted()
	if committed {
		ends, isolation = b.admin.ListCommittedOffsets, kgo.ReadCommitted()
	}
	found, err := ends(seconds(20), topic)
	must(err, "end offsets")
	starts, err := b.admin.ListStartOffsets(seconds(20), topic)
	must(err, "start offsets")
	left := map[int32]int64{}
	found.Each(func(each kadm.ListedOffset) {
		must(each.Err, "end offset")
		if start, _ := starts.Lookup(topic, each.Partition); start.Offset < each.Offset {
			left[each.Partition] = each.Offset
		}
	})
	// Control records are kept so that the end is seen where the last record is a marker.
	reader := b.open(kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(isolation), kgo.KeepControlRecords())
	defer reader.Close()
	var records []*kgo.Record
	within := seconds(40)
	for len(left) > 0 {
		fetches := reader.PollFetches(within)
		if within.Err() != nil {
			fail("no end of the topic, %d records read", len(records))
		}
		fetches.EachError(func(_ string, _ int32, err error) { fail("fetch: %v", err) })
		fetches.EachRecord(func(record *kgo.Record) {
			if !record.Attrs.IsControl() {
				records = append(records, record)
			}
			if record.Offset+1 >= left[record.Partition] {
				delete(left, record.Partition)
			}
		})
	}
	slices.SortFunc(records, func(a, b *kgo.Record) int {
		if a.Partition != b.Partition {
			return int(a.Partition - b.Partition)
		}
		return int(a.Offset - b.Offset)
	})
	return records
}

func (b *broker) values(topic string, committed bool) string {
	var values []string
	for _, record := range b.read(topic, committed) {
		values = append(values, string(record.Value))
	}
	return strings.Join(values, ",")
}

// name is Kafka's name of an error, `none` where there is none.
func name(err error) string {
	var kafka *kerr.Error
	switch {
	case err == nil:
		return "none"
	case asKafka(err, &kafka):
		return kafka.Message
	default:
		return err.Error()
	}
}

func coded(code int16) string { return name(kerr.ErrorForCode(code)) }
