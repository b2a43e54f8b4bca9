package main

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// transaction is one producer on one connection, in the old protocol (partitions are added by request, the epoch stays) or in
// version 2 (KIP-890: partitions are added by producing to them, each end raises the epoch).
type transaction struct {
	w     *wire
	b     *broker
	id    string
	two   bool
	pid   int64
	epoch int16
	next  map[string]int32
}

func (b *broker) transaction(what string, two bool, timeout int32) *transaction {
	t := &transaction{w: b.wire(), b: b, id: b.name(what), two: two}
	expect("init", t.init(timeout), "none")
	return t
}

// as is another producer that believes to be this one.
func (t *transaction) as(pid int64, epoch int16) *transaction {
	return &transaction{w: t.w, b: t.b, id: t.id, two: t.two, pid: pid, epoch: epoch, next: maps.Clone(t.next)}
}

func (t *transaction) init(timeout int32) string {
	answer := initProducer(t.w, &t.id, timeout, 5)
	t.pid, t.epoch, t.next = answer.ProducerID, answer.ProducerEpoch, map[string]int32{}
	return coded(answer.ErrorCode)
}

// settled repeats what a client repeats: the coordinator still ends the transaction before.
func settled(ask func() int16) string {
	var code int16
	eventually("the end of the transaction before", 20, func() bool {
		code = ask()
		return code != 51 && code != 14 && code != 16
	})
	return coded(code)
}

func (t *transaction) add(topics ...string) string {
	request := kmsg.NewPtrAddPartitionsToTxnRequest()
	request.TransactionalID, request.ProducerID, request.ProducerEpoch = t.id, t.pid, t.epoch
	for _, topic := range topics {
		of := kmsg.NewAddPartitionsToTxnRequestTopic()
		of.Topic, of.Partitions = topic, []int32{0}
		request.Topics = append(request.Topics, of)
	}
	// The answer may hold the topics in any order; the first one's error decides whether to ask again.
	codes := map[string]int16{}
	settled(func() int16 {
		answer := ask[*kmsg.AddPartitionsToTxnResponse](t.w, request, 3)
		for _, each := range answer.Topics {
			codes[each.Topic] = each.Partitions[0].ErrorCode
		}
		return codes[topics[0]]
	})
	texts := make([]string, len(topics))
	for at, topic := range topics {
		texts[at] = coded(codes[topic])
	}
	return strings.Join(texts, "/")
}

func (t *transaction) write(topic, value string) string {
	at := int16(11)
	if t.two {
		at = 12
	}
	answer := settled(func() int16 {
		bytes := batch(transactional(t.pid, t.epoch, t.next[topic]), pair{"k", value})
		return t.w.produce(topic, bytes, inTransaction(t.id), version(at)).ErrorCode
	})
	if answer == "none" {
		t.next[topic]++
	}
	return answer
}

func (t *transaction) end(commit bool) string {
	request := kmsg.NewPtrEndTxnRequest()
	request.TransactionalID, request.ProducerID, request.ProducerEpoch, request.Commit = t.id, t.pid, t.epoch, commit
	at := int16(4)
	if t.two {
		at = 5
	}
	var answer *kmsg.EndTxnResponse
	text := settled(func() int16 {
		answer = ask[*kmsg.EndTxnResponse](t.w, request, at)
		return answer.ErrorCode
	})
	if t.two && text == "none" {
		t.pid, t.epoch, t.next = answer.ProducerID, answer.ProducerEpoch, map[string]int32{}
	}
	return text
}

func (t *transaction) group(group string) string {
	request := kmsg.NewPtrAddOffsetsToTxnRequest()
	request.TransactionalID, request.ProducerID, request.ProducerEpoch, request.Group = t.id, t.pid, t.epoch, group
	return settled(func() int16 { return ask[*kmsg.AddOffsetsToTxnResponse](t.w, request, 4).ErrorCode })
}

func (t *transaction) offset(group, topic string, generation int32, member string) string {
	request := kmsg.NewPtrTxnOffsetCommitRequest()
	request.TransactionalID, request.ProducerID, request.ProducerEpoch, request.Group = t.id, t.pid, t.epoch, group
	request.Generation, request.MemberID = generation, member
	of := kmsg.NewTxnOffsetCommitRequestTopic()
	of.Topic = topic
	part := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	part.Offset = 77
	of.Partitions = append(of.Partitions, part)
	request.Topics = append(request.Topics, of)
	at := int16(4)
	if t.two {
		at = 5
	}
	return settled(func() int16 {
		return ask[*kmsg.TxnOffsetCommitResponse](t.w, request, at).Topics[0].Partitions[0].ErrorCode
	})
}

// state is what DescribeTransactions says; the state after an end is reached a moment later.
func (t *transaction) state() string {
	request := kmsg.NewPtrDescribeTransactionsRequest()
	request.TransactionalIDs = []string{t.id}
	var text string
	eventually("a state that lasts", 20, func() bool {
		got := ask[*kmsg.DescribeTransactionsResponse](t.w, request, 0).TransactionStates[0]
		text = fmt.Sprintf("%s(%s,epoch=%d,topics=%d,timeout=%d,started=%v)", got.State, coded(got.ErrorCode), got.ProducerEpoch,
			len(got.Topics), got.TimeoutMillis, got.StartTimestamp > 0)
		return !strings.HasPrefix(got.State, "Prepare")
	})
	return text
}

var initOnce sync.Mutex

var _ = add("init_producer_id", func(b *broker) string {
	w := b.wire()
	defer w.close()
	init := func(id *string, timeout int32, pid int64, epoch, at int16) string {
		request := kmsg.NewPtrInitProducerIDRequest()
		request.TransactionalID, request.TransactionTimeoutMillis = id, timeout
		request.ProducerID, request.ProducerEpoch = pid, epoch
		var answer *kmsg.InitProducerIDResponse
		settled(func() int16 {
			answer = ask[*kmsg.InitProducerIDResponse](w, request, at)
			return answer.ErrorCode
		})
		return fmt.Sprintf("%s(id=%v,epoch=%d)", coded(answer.ErrorCode), answer.ProducerID >= 0, answer.ProducerEpoch)
	}
	initOnce.Lock()
	defer initOnce.Unlock()
	name, empty, other := b.name("init"), "", b.name("init-other")
	first := initProducer(w, &other, 60000, 5)
	second := initProducer(w, nil, 60000, 5)
	third := initProducer(w, nil, 60000, 5)
	return fmt.Sprint(
		"new=", init(&name, 60000, -1, -1, 5), " again=", init(&name, 60000, -1, -1, 5), " empty=", init(&empty, 60000, -1, -1, 5),
		" timeout_0=", init(&name, 0, -1, -1, 5), " timeout_long=", init(&name, 1<<30, -1, -1, 5),
		" bump=", init(&other, 60000, first.ProducerID, 0, 5), " bump_retry=", init(&other, 60000, first.ProducerID, 0, 5),
		" old=", init(&other, 60000, first.ProducerID, 0, 5), " wrong_id=", init(&other, 60000, first.ProducerID+9999, 0, 5),
		" old_v2=", init(&other, 60000, -1, -1, 2), " idempotent_differ=", second.ProducerID != third.ProducerID)
})

func steps(b *broker, two bool) string {
	word := map[bool]string{false: "one", true: "two"}[two]
	topic, other := b.topic("steps-"+word, 1), b.topic("steps-other-"+word, 1)
	t := b.transaction("steps-"+word, two, 60_000)
	defer t.w.close()
	var results []string
	note := func(what, result string) { results = append(results, what+"="+result) }
	note("empty", t.state())
	note("end_nothing", t.end(true))
	if !two {
		note("write_unadded", t.write(topic, "unadded"))
		note("add", t.add(topic, other))
		note("add_again", t.add(topic))
	}
	note("write", t.write(topic, "committed"))
	note("write_other", t.write(other, "committed"))
	note("ongoing", t.state())
	note("committed_while_open", "<"+b.values(topic, true)+">")
	pid, epoch, next := t.pid, t.epoch, maps.Clone(t.next)
	before := func() *transaction {
		return &transaction{w: t.w, b: b, id: t.id, two: two, pid: pid, epoch: epoch, next: maps.Clone(next)}
	}
	note("commit", t.end(true))
	note("done", t.state())
	note("commit_retry", before().end(true))
	note("abort_after_commit", before().end(false))
	note("late_write", before().write(topic, "late"))
	if !two {
		note("add_for_abort", t.add(topic))
	}
	// Sequences go on in the old protocol and begin anew with a new epoch.
	note("write_2", t.write(topic, "aborted"))
	pid, epoch = t.pid, t.epoch
	note("abort", t.end(false))
	note("aborted", t.state())
	note("abort_retry", before().end(false))
	note("wrong_epoch", t.as(t.pid, t.epoch+5).end(true))
	note("wrong_id", t.as(t.pid+9999, t.epoch).end(true))
	note("wrong_epoch_add", t.as(t.pid, t.epoch+5).add(topic))
	note("wrong_id_add", t.as(t.pid+9999, t.epoch).add(topic))
	note("unknown_topic_add", t.add(b.name("nowhere"), topic))
	note("seen", b.values(topic, true))
	note("all", b.values(topic, false))
	return strings.Join(results, " ")
}

var _ = add("transaction_step_by_step_v1", func(b *broker) string { return steps(b, false) })
var _ = add("transaction_step_by_step_v2", func(b *broker) string { return steps(b, true) })

func fenced(b *broker, two bool) string {
	word := map[bool]string{false: "one", true: "two"}[two]
	topic := b.topic("fence-"+word, 1)
	old := b.transaction("fence-"+word, two, 60_000)
	defer old.w.close()
	if !two {
		old.add(topic)
	}
	results := []string{"write=" + old.write(topic, "old")}
	heir := b.transaction("fence-"+word, two, 60_000)
	defer heir.w.close()
	results = append(results, fmt.Sprint("higher=", heir.epoch > old.epoch), fmt.Sprint("same=", heir.pid == old.pid),
		"old_writes="+old.write(topic, "zombie"), "old_ends="+old.end(true), "old_adds="+old.add(topic))
	if !two {
		heir.add(topic)
	}
	return strings.Join(append(results, "heir="+heir.write(topic, "heir"), "heir_ends="+heir.end(true), "seen="+b.values(topic, true)), " ")
}

var _ = add("zombie_step_by_step_v1", func(b *broker) string { return fenced(b, false) })
var _ = add("zombie_step_by_step_v2", func(b *broker) string { return fenced(b, true) })

func offsets(b *broker, two bool) string {
	word := map[bool]string{false: "one", true: "two"}[two]
	topic, group := b.topic("offsets-"+word, 1), b.name("offsets-"+word)
	t := b.transaction("offsets-"+word, two, 60_000)
	defer t.w.close()
	var results []string
	note := func(what, result string) { results = append(results, what+"="+result) }
	get := func(stable bool) string {
		request := kmsg.NewPtrOffsetFetchRequest()
		request.RequireStable = stable
		of := kmsg.NewOffsetFetchRequestGroup()
		of.Group, of.MemberEpoch = group, -1
		part := kmsg.NewOffsetFetchRequestGroupTopic()
		part.Topic, part.Partitions = topic, []int32{0}
		of.Topics = append(of.Topics, part)
		request.Groups = append(request.Groups, of)
		got := ask[*kmsg.OffsetFetchResponse](t.w, request, 9).Groups[0].Topics[0].Partitions[0]
		return fmt.Sprintf("%d/%s", got.Offset, coded(got.ErrorCode))
	}
	enter(t.w, b.name("warm-"+word), 9)
	if !two {
		note("unadded", t.offset(group, topic, -1, ""))
		note("add", t.group(group))
	}
	note("offset", t.offset(group, topic, -1, ""))
	note("pending", get(false))
	note("pending_stable", get(true))
	note("abort", t.end(false))
	eventually("the end", 20, func() bool { return get(true) == "-1/none" })
	if !two {
		note("add", t.group(group))
	}
	note("offset", t.offset(group, topic, -1, ""))
	note("commit", t.end(true))
	eventually("the commit", 20, func() bool { return get(true) == "77/none" })
	member := enter(t.w, group, 9)
	if !two {
		note("add", t.group(group))
	}
	note("no_member", t.offset(group, topic, -1, ""))
	note("generation", t.offset(group, topic, member.Generation+4, member.MemberID))
	note("who", t.offset(group, topic, member.Generation, "who"))
	note("member", t.offset(group, topic, member.Generation, member.MemberID))
	note("wrong_epoch", t.as(t.pid, t.epoch+3).offset(group, topic, -1, ""))
	note("nowhere", t.offset(group, b.name("nowhere"), member.Generation, member.MemberID))
	note("end", t.end(true))
	return strings.Join(results, " ")
}

var _ = add("transaction_offsets_step_by_step_v1", func(b *broker) string { return offsets(b, false) })
var _ = add("transaction_offsets_step_by_step_v2", func(b *broker) string { return offsets(b, true) })

var _ = add("transaction_times_out", func(b *broker) string {
	topic := b.topic("late", 1)
	var results []string
	for _, two := range []bool{false, true} {
		t := b.transaction(fmt.Sprint("late-", two), two, 500)
		if !two {
			t.add(topic)
		}
		t.write(topic, fmt.Sprint(two))
		eventually("the abort", 30, func() bool { return strings.HasPrefix(t.state(), "CompleteAbort") })
		results = append(results, fmt.Sprintf("two=%v %s write=%s end=%s", two, t.state(), t.write(topic, "late"), t.end(true)))
		t.w.close()
	}
	return strings.Join(results, " ") + " seen=<" + b.values(topic, true) + "> all=" + b.values(topic, false)
})

var _ = add("transactions_described_and_listed", func(b *broker) string {
	topic := b.topic("listed", 1)
	t := b.transaction("listed", false, 60_000)
	defer t.w.close()
	t.add(topic)
	t.write(topic, "1")
	list := func(states []string, pattern *string, duration int64) string {
		request := kmsg.NewPtrListTransactionsRequest()
		request.StateFilters, request.TransactionalIDPattern, request.DurationFilterMillis = states, pattern, duration
		answer := ask[*kmsg.ListTransactionsResponse](t.w, request, 2)
		text := coded(answer.ErrorCode)
		if len(answer.UnknownStateFilters) > 0 {
			text += fmt.Sprint("/unknown=", answer.UnknownStateFilters)
		}
		for _, each := range answer.TransactionStates {
			if each.TransactionalID == t.id {
				text += "/" + each.TransactionState
			}
		}
		return text
	}
	producers := kmsg.NewPtrDescribeProducersRequest()
	of := kmsg.NewDescribeProducersRequestTopic()
	of.Topic, of.Partitions = topic, []int32{0, 5}
	producers.Topics = append(producers.Topics, of)
	describe := func() string {
		var text string
		for _, part := range ask[*kmsg.DescribeProducersResponse](t.w, producers, 0).Topics[0].Partitions {
			text += fmt.Sprintf("%d:%s", part.Partition, coded(part.ErrorCode))
			for _, each := range part.ActiveProducers {
				text += fmt.Sprintf("(epoch=%d,last=%d,open_since=%d,coordinator=%d)", each.ProducerEpoch, each.LastSequence,
					each.CurrentTxnStartOffset, each.CoordinatorEpoch)
			}
		}
		return text
	}
	match, other, broken := "go-listed-.*", "no-.*", "("
	time.Sleep(10 * time.Millisecond)
	results := fmt.Sprint("all=", list(nil, nil, -1), " ongoing=", list([]string{"Ongoing"}, nil, -1), " empty=", list([]string{"Empty"}, nil, -1),
		" what=", list([]string{"Nonsense"}, nil, -1), " match=", list(nil, &match, -1), " other=", list(nil, &other, -1),
		" broken=", list(nil, &broken, -1), " long=", list(nil, nil, 3_600_000), " short=", list(nil, nil, 1), " producers=", describe())
	t.end(true)
	t.state()
	absent := *t
	absent.id = b.name("absent")
	return results + " then=" + describe() + " absent=" + absent.state()
})

var _ = add("markers_by_hand", func(b *broker) string {
	topic := b.topic("markers", 1)
	t := b.transaction("markers", false, 60_000)
	defer t.w.close()
	expect("a higher epoch", t.init(60_000), "none")
	t.add(topic)
	t.write(topic, "1")
	mark := func(epoch int16, commit bool, coordinator int32, topic string) string {
		request := kmsg.NewPtrWriteTxnMarkersRequest()
		marker := kmsg.NewWriteTxnMarkersRequestMarker()
		marker.ProducerID, marker.ProducerEpoch, marker.Committed, marker.CoordinatorEpoch = t.pid, epoch, commit, coordinator
		of := kmsg.NewWriteTxnMarkersRequestMarkerTopic()
		of.Topic, of.Partitions = topic, []int32{0}
		marker.Topics = append(marker.Topics, of)
		request.Markers = append(request.Markers, marker)
		return coded(ask[*kmsg.WriteTxnMarkersResponse](t.w, request, 1).Markers[0].Topics[0].Partitions[0].ErrorCode)
	}
	return fmt.Sprint("nowhere=", mark(t.epoch, false, 0, b.name("nowhere")), " old=", mark(t.epoch-1, false, 0, topic),
		" abort=", mark(t.epoch, false, 0, topic), " seen=<", b.values(topic, true), "> all=", b.values(topic, false))
})
