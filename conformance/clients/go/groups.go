package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// worker is a member of a group that polls until it leaves.
type worker struct {
	client  *kgo.Client
	mutex   sync.Mutex
	owned   map[int32]bool
	revoked int
	leave   context.CancelFunc
	done    chan struct{}
}

func (b *broker) worker(group, topic string, options ...kgo.Opt) *worker {
	w := &worker{owned: map[int32]bool{}, done: make(chan struct{})}
	gone := func(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
		w.mutex.Lock()
		defer w.mutex.Unlock()
		for _, part := range parts[topic] {
			w.revoked++
			delete(w.owned, part)
		}
	}
	w.client = b.open(append([]kgo.Opt{
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.OnPartitionsRevoked(gone), kgo.OnPartitionsLost(gone),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
			w.mutex.Lock()
			defer w.mutex.Unlock()
			for _, part := range parts[topic] {
				w.owned[part] = true
			}
		}),
	}, options...)...)
	within, cancel := context.WithCancel(context.Background())
	w.leave = cancel
	go func() {
		defer close(w.done)
		for within.Err() == nil {
			w.client.PollFetches(within)
		}
	}()
	return w
}

func (w *worker) close() {
	w.leave()
	<-w.done
	w.client.Close()
}

func (w *worker) count() int {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return len(w.owned)
}

func rebalances(balancer kgo.GroupBalancer) func(b *broker) string {
	return func(b *broker) string {
		what := "rebalance-" + balancer.ProtocolName()
		topic, group := b.topic(what, 6), b.name(what)
		first := b.worker(group, topic, kgo.Balancers(balancer))
		defer first.close()
		eventually("all for one", 30, func() bool { return first.count() == 6 })
		second := b.worker(group, topic, kgo.Balancers(balancer))
		eventually("two shares", 30, func() bool { return first.count() == 3 && second.count() == 3 })
		first.mutex.Lock()
		moved := first.revoked
		first.mutex.Unlock()
		second.close()
		eventually("alone again", 30, func() bool { return first.count() == 6 })
		return fmt.Sprint("shares=6 3+3 6 revoked=", moved)
	}
}

var _ = add("rebalance_range", rebalances(kgo.RangeBalancer()))
var _ = add("rebalance_sticky", rebalances(kgo.StickyBalancer()))
var _ = add("rebalance_cooperative", rebalances(kgo.CooperativeStickyBalancer()))

var _ = add("offsets_and_lag", func(b *broker) string {
	topic, group := b.topic("lag", 2), b.name("lag")
	b.send(topic, "1", "2", "3", "4", "5")
	var offsets kadm.Offsets
	offsets.AddOffset(topic, 0, 2, -1)
	must(b.admin.CommitAllOffsets(seconds(20), group, offsets), "commit")
	lags, err := b.admin.Lag(seconds(20), group)
	must(err, "lag")
	lag := lags[group]
	return fmt.Sprintf("state=%s lag=%d error=%s", lag.State, lag.Lag.Total(), name(lag.Error()))
})

var _ = add("consume_transform_produce", func(b *broker) string {
	source, target, group := b.topic("eos-in", 3), b.topic("eos-out", 1), b.name("eos")
	made := b.open()
	defer made.Close()
	var records []*kgo.Record
	for at := range 600 {
		records = append(records, &kgo.Record{Topic: source, Partition: int32(at % 3), Value: fmt.Append(nil, at)})
	}
	send(made, records...)
	var mutex sync.Mutex
	aborts := 0
	run := func(id string, end context.Context) {
		session, err := kgo.NewGroupTransactSession(
			kgo.SeedBrokers(b.bootstrap), kgo.TransactionalID(id), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumerGroup(group),
			kgo.ConsumeTopics(source), kgo.RequireStableFetchOffsets(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
			kgo.FetchMaxWait(100e6), kgo.SessionTimeout(6e9), kgo.HeartbeatInterval(300e6), kgo.MaxConcurrentFetches(1),
		)
		must(err, "session")
		defer session.Close()
		for round := 0; end.Err() == nil; round++ {
			fetches := session.PollRecords(end, 40)
			if fetches.Empty() {
				continue
			}
			must(session.Begin(), "begin")
			failed := false
			fetches.EachRecord(func(record *kgo.Record) {
				session.Produce(context.Background(), &kgo.Record{Topic: target, Value: record.Value}, func(_ *kgo.Record, err error) { failed = failed || err != nil })
			})
			_ = session.Client().Flush(context.Background())
			commit := kgo.TryCommit
			if round%4 == 1 || failed {
				commit = kgo.TryAbort
				mutex.Lock()
				aborts++
				mutex.Unlock()
			}
			_, _ = session.End(context.Background(), commit)
		}
	}
	within, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, id := range []string{"eos-a", "eos-b"} {
		all.Add(1)
		go func() {
			defer all.Done()
			run(b.name(id), within)
		}()
	}
	eventually("600 copies", 60, func() bool { return len(b.read(target, true)) >= 600 })
	stop()
	all.Wait()
	seen := map[string]int{}
	for _, record := range b.read(target, true) {
		seen[string(record.Value)]++
	}
	for value, count := range seen {
		expect("copies of "+value, count, 1)
	}
	return fmt.Sprintf("copies=%d some_aborted=%v", len(seen), aborts > 0)
})

var _ = add("transactions_of_the_client", func(b *broker) string {
	topic := b.topic("client-txn", 1)
	made := b.open(kgo.TransactionalID(b.name("client-txn")))
	defer made.Close()
	for at, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit, kgo.TryCommit, kgo.TryAbort} {
		must(made.BeginTransaction(), "begin")
		send(made, &kgo.Record{Topic: topic, Value: fmt.Append(nil, at)})
		must(made.EndTransaction(seconds(30), end), "end")
	}
	other := b.open(kgo.TransactionalID(b.name("client-txn")))
	defer other.Close()
	must(other.BeginTransaction(), "begin")
	send(other, &kgo.Record{Topic: topic, Value: []byte("heir")})
	must(other.EndTransaction(seconds(30), kgo.TryCommit), "end")
	must(made.BeginTransaction(), "begin")
	zombie := send(made, &kgo.Record{Topic: topic, Value: []byte("zombie")})
	return fmt.Sprint("committed=", b.values(topic, true), " all=", b.values(topic, false), " zombie=", zombie)
})

var _ = add("quotas", func(b *broker) string {
	user := b.name("user")
	entity := []kadm.ClientQuotaEntityComponent{{Type: "client-id", Name: &user}}
	change := func(key string, value float64, remove bool) string {
		answer, err := b.admin.AlterClientQuotas(seconds(20), []kadm.AlterClientQuotaEntry{{Entity: entity, Ops: []kadm.AlterClientQuotaOp{{Key: key, Value: value, Remove: remove}}}})
		if err != nil {
			return name(err)
		}
		return name(answer[0].Err)
	}
	show := func() string {
		found, err := b.admin.DescribeClientQuotas(seconds(20), true, []kadm.DescribeClientQuotaComponent{{Type: "client-id", MatchName: &user, MatchType: 0}})
		must(err, "describe quotas")
		text := ""
		for _, each := range found {
			for _, value := range each.Values {
				text += fmt.Sprintf("%s=%g,", value.Key, value.Value)
			}
		}
		return "<" + text + ">"
	}
	results := fmt.Sprint("before=", show(), " set=", change("producer_byte_rate", 1e6, false))
	eventually("the quota", 20, func() bool { return show() == "<producer_byte_rate=1e+06,>" })
	results += fmt.Sprint(" wrong=", change("no_such_rate", 1, false), " remove=", change("producer_byte_rate", 0, true))
	eventually("no quota", 20, func() bool { return show() == "<>" })
	return results
})
