package main

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func joinRequest(group, member string, protocols ...string) *kmsg.JoinGroupRequest {
	request := kmsg.NewPtrJoinGroupRequest()
	request.Group, request.MemberID, request.ProtocolType = group, member, "consumer"
	request.SessionTimeoutMillis, request.RebalanceTimeoutMillis = 10_000, 10_000
	for _, each := range protocols {
		protocol := kmsg.NewJoinGroupRequestProtocol()
		// Apache Kafka reads the subscription to know the topics of a group, so it must be one: version 0, one topic, no user data.
		protocol.Name, protocol.Metadata = each, []byte("\x00\x00\x00\x00\x00\x01\x00\x05topic\xff\xff\xff\xff")
		request.Protocols = append(request.Protocols, protocol)
	}
	return request
}

func joinNow(w *wire, request *kmsg.JoinGroupRequest, at int16) *kmsg.JoinGroupResponse {
	var answer *kmsg.JoinGroupResponse
	eventually("the group's coordinator", 30, func() bool {
		answer = ask[*kmsg.JoinGroupResponse](w, request, at)
		return answer.ErrorCode != 14 && answer.ErrorCode != 15 && answer.ErrorCode != 16
	})
	return answer
}

// enter joins as a new member would: asked for a name first where the version does so.
func enter(w *wire, group string, at int16) *kmsg.JoinGroupResponse {
	request := joinRequest(group, "", "range")
	answer := joinNow(w, request, at)
	if answer.ErrorCode == 79 {
		request.MemberID = answer.MemberID
		answer = joinNow(w, request, at)
	}
	expect("join", coded(answer.ErrorCode), "none")
	return answer
}

func syncRequest(group, member string, generation int32, shares ...string) *kmsg.SyncGroupRequest {
	request := kmsg.NewPtrSyncGroupRequest()
	request.Group, request.MemberID, request.Generation = group, member, generation
	kind, protocol := "consumer", "range"
	request.ProtocolType, request.Protocol = &kind, &protocol
	for _, each := range shares {
		share := kmsg.NewSyncGroupRequestGroupAssignment()
		share.MemberID, share.MemberAssignment = each, []byte("share")
		request.GroupAssignment = append(request.GroupAssignment, share)
	}
	return request
}

func beat(w *wire, group, member string, generation int32, instance *string, at int16) string {
	request := kmsg.NewPtrHeartbeatRequest()
	request.Group, request.MemberID, request.Generation, request.InstanceID = group, member, generation, instance
	return coded(ask[*kmsg.HeartbeatResponse](w, request, at).ErrorCode)
}

func leave(w *wire, group, member string, instance *string, at int16) string {
	request := kmsg.NewPtrLeaveGroupRequest()
	request.Group, request.MemberID = group, member
	of := kmsg.NewLeaveGroupRequestMember()
	of.MemberID, of.InstanceID = member, instance
	request.Members = append(request.Members, of)
	answer := ask[*kmsg.LeaveGroupResponse](w, request, at)
	text := coded(answer.ErrorCode)
	for _, each := range answer.Members {
		text += "/" + coded(each.ErrorCode)
	}
	return text
}

func commitOffset(w *wire, group, member string, generation int32, topic string, partition int32, metadata string, at int16) string {
	request := kmsg.NewPtrOffsetCommitRequest()
	request.Group, request.MemberID, request.Generation = group, member, generation
	of := kmsg.NewOffsetCommitRequestTopic()
	of.Topic = topic
	part := kmsg.NewOffsetCommitRequestTopicPartition()
	part.Partition, part.Offset, part.Metadata = partition, 42, &metadata
	of.Partitions = append(of.Partitions, part)
	request.Topics = append(request.Topics, of)
	return coded(ask[*kmsg.OffsetCommitResponse](w, request, at).Topics[0].Partitions[0].ErrorCode)
}

var _ = add("join_refusals", func(b *broker) string {
	w := b.wire()
	defer w.close()
	join := func(change func(*kmsg.JoinGroupRequest)) string {
		request := joinRequest(b.name("refusals"), "", "range")
		change(request)
		answer := joinNow(w, request, 9)
		return fmt.Sprintf("%s(member=%v,generation=%d)", coded(answer.ErrorCode), answer.MemberID != "", answer.Generation)
	}
	return fmt.Sprint(
		"new=", join(func(*kmsg.JoinGroupRequest) {}),
		" unknown=", join(func(r *kmsg.JoinGroupRequest) { r.MemberID = "who" }),
		" no_group=", join(func(r *kmsg.JoinGroupRequest) { r.Group = "" }),
		" short=", join(func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 1 }),
		" long=", join(func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 1 << 30 }),
		" no_protocol=", join(func(r *kmsg.JoinGroupRequest) { r.Protocols = nil }),
		" no_type=", join(func(r *kmsg.JoinGroupRequest) { r.ProtocolType = "" }))
})

var _ = add("group_of_two_step_by_step", func(b *broker) string {
	group := b.name("two")
	one, two, other := b.wire(), b.wire(), b.wire()
	defer one.close()
	defer two.close()
	defer other.close()
	var results []string
	note := func(what, result string) { results = append(results, what+"="+result) }

	first := enter(one, group, 9)
	note("first", fmt.Sprintf("generation=%d,leader=%v,members=%d,protocol=%s", first.Generation, first.LeaderID == first.MemberID, len(first.Members), *first.Protocol))
	note("beat_before_sync", beat(other, group, first.MemberID, first.Generation, nil, 4))
	share := ask[*kmsg.SyncGroupResponse](one, syncRequest(group, first.MemberID, first.Generation, first.MemberID), 5)
	note("sync", fmt.Sprintf("%s,%s", coded(share.ErrorCode), share.MemberAssignment))
	note("beat", beat(other, group, first.MemberID, first.Generation, nil, 4))
	note("beat_old", beat(other, group, first.MemberID, first.Generation-1, nil, 4))
	note("beat_who", beat(other, group, "who", first.Generation, nil, 4))
	note("sync_old", coded(ask[*kmsg.SyncGroupResponse](other, syncRequest(group, first.MemberID, 0), 5).ErrorCode))
	wrong := syncRequest(group, first.MemberID, first.Generation)
	kind := "connect"
	wrong.ProtocolType = &kind
	note("sync_type", coded(ask[*kmsg.SyncGroupResponse](other, wrong, 5).ErrorCode))
	note("other_protocol", coded(joinNow(other, joinRequest(group, "", "sticky"), 3).ErrorCode))
	foreign := joinRequest(group, "", "range")
	foreign.ProtocolType = "connect"
	note("other_type", coded(joinNow(other, foreign, 3).ErrorCode))

	// The second waits until the first has come back.
	second := make(chan *kmsg.JoinGroupResponse, 1)
	go func() {
		defer func() { _ = recover() }()
		second <- enter(two, group, 9)
	}()
	eventually("a rebalance", 20, func() bool {
		return beat(other, group, first.MemberID, first.Generation, nil, 4) == "REBALANCE_IN_PROGRESS"
	})
	topic := b.topic("two", 1)
	note("commit_while_preparing", commitOffset(other, group, first.MemberID, first.Generation, topic, 0, "", 9))
	note("sync_while_preparing", coded(ask[*kmsg.SyncGroupResponse](other, syncRequest(group, first.MemberID, first.Generation), 5).ErrorCode))
	again := joinNow(one, joinRequest(group, first.MemberID, "range"), 9)
	joined := <-second
	note("again", fmt.Sprintf("generation=%d,leader=%v,members=%d", again.Generation, again.LeaderID == first.MemberID, len(again.Members)))
	note("second", fmt.Sprintf("generation=%d,leader=%v,members=%d", joined.Generation, joined.LeaderID == joined.MemberID, len(joined.Members)))
	note("commit_while_syncing", commitOffset(other, group, first.MemberID, again.Generation, topic, 0, "", 9))
	shares := make(chan string, 1)
	go func() {
		defer func() { _ = recover() }()
		got := ask[*kmsg.SyncGroupResponse](two, syncRequest(group, joined.MemberID, joined.Generation), 5)
		shares <- coded(got.ErrorCode) + "," + string(got.MemberAssignment)
	}()
	ask[*kmsg.SyncGroupResponse](one, syncRequest(group, first.MemberID, again.Generation, first.MemberID, joined.MemberID), 5)
	note("share_of_second", <-shares)
	note("sync_again", coded(ask[*kmsg.SyncGroupResponse](one, syncRequest(group, first.MemberID, again.Generation), 5).ErrorCode))
	note("commit", commitOffset(other, group, first.MemberID, again.Generation, topic, 0, "note", 9))
	note("commit_old", commitOffset(other, group, first.MemberID, first.Generation, topic, 0, "", 9))
	note("commit_who", commitOffset(other, group, "who", again.Generation, topic, 0, "", 9))
	note("commit_simple", commitOffset(other, group, "", -1, topic, 0, "", 9))
	note("leave_who", leave(other, group, "who", nil, 5))
	note("leave", leave(other, group, joined.MemberID, nil, 5))
	note("beat_after", beat(other, group, first.MemberID, again.Generation, nil, 4))
	note("beat_gone", beat(other, group, joined.MemberID, again.Generation, nil, 4))
	note("leave_last", leave(other, group, first.MemberID, nil, 2))
	note("beat_empty", beat(other, group, first.MemberID, again.Generation, nil, 4))
	note("commit_empty", commitOffset(other, group, "", -1, topic, 0, "", 9))
	note("metadata_long", commitOffset(other, group, "", -1, topic, 0, strings.Repeat("m", 5000), 9))
	note("commit_nowhere", commitOffset(other, group, "", -1, b.name("nowhere"), 0, "", 9))
	note("commit_partition", commitOffset(other, group, "", -1, topic, 8, "", 9))
	note("beat_no_group", beat(other, b.name("no-such"), "who", 1, nil, 4))
	note("leave_no_group", leave(other, b.name("no-such"), "who", nil, 5))
	note("commit_no_group", commitOffset(other, b.name("no-such"), "who", 3, topic, 0, "", 9))
	return strings.Join(results, " ")
})

var _ = add("static_members_step_by_step", func(b *broker) string {
	group, instance, absent := b.name("static"), "i", "j"
	w := b.wire()
	defer w.close()
	join := func(member string, at int16) *kmsg.JoinGroupResponse {
		request := joinRequest(group, member, "range")
		request.InstanceID = &instance
		return joinNow(w, request, at)
	}
	first := join("", 9)
	share := ask[*kmsg.SyncGroupResponse](w, syncRequest(group, first.MemberID, first.Generation, first.MemberID), 5)
	back := join("", 9)
	fenced := joinRequest(group, first.MemberID, "range")
	fenced.InstanceID = &instance
	return fmt.Sprint(
		"first=", coded(first.ErrorCode), ",", first.Generation, ",", coded(share.ErrorCode),
		" back=", coded(back.ErrorCode), ",generation=", back.Generation, ",new_id=", back.MemberID != first.MemberID,
		",leader=", back.LeaderID == back.MemberID, ",skip=", back.SkipAssignment, ",members=", len(back.Members),
		" old_joins=", coded(joinNow(w, fenced, 9).ErrorCode),
		" old_beats=", beat(w, group, first.MemberID, first.Generation, &instance, 4),
		" new_beats=", beat(w, group, back.MemberID, back.Generation, &instance, 4),
		" absent_beats=", beat(w, group, back.MemberID, back.Generation, &absent, 4),
		" old_leaves=", leave(w, group, first.MemberID, &instance, 5),
		" absent_leaves=", leave(w, group, "", &absent, 5),
		" leaves_by_name=", leave(w, group, "", &instance, 5),
		" then=", beat(w, group, back.MemberID, back.Generation, nil, 4))
})

var _ = add("group_admin_step_by_step", func(b *broker) string {
	group, topic := b.name("admin"), b.topic("admin", 2)
	w := b.wire()
	defer w.close()
	describe := func(group string) string {
		request := kmsg.NewPtrDescribeGroupsRequest()
		request.Groups = []string{group}
		got := ask[*kmsg.DescribeGroupsResponse](w, request, 6).Groups[0]
		text := fmt.Sprintf("%s,%s,type=%s,protocol=%s", coded(got.ErrorCode), got.State, got.ProtocolType, got.Protocol)
		for _, each := range got.Members {
			text += fmt.Sprintf(",%s@%s,%d,%s", each.ClientID, each.ClientHost, len(each.ProtocolMetadata), each.MemberAssignment)
		}
		return text
	}
	remove := func(group string) string {
		request := kmsg.NewPtrDeleteGroupsRequest()
		request.Groups = []string{group}
		return coded(ask[*kmsg.DeleteGroupsResponse](w, request, 2).Groups[0].ErrorCode)
	}
	forget := func(partition int32) string {
		request := kmsg.NewPtrOffsetDeleteRequest()
		request.Group = group
		of := kmsg.NewOffsetDeleteRequestTopic()
		of.Topic = topic
		part := kmsg.NewOffsetDeleteRequestTopicPartition()
		part.Partition = partition
		of.Partitions = append(of.Partitions, part)
		request.Topics = append(request.Topics, of)
		answer := ask[*kmsg.OffsetDeleteResponse](w, request, 0)
		text := coded(answer.ErrorCode)
		for _, each := range answer.Topics {
			text += "/" + coded(each.Partitions[0].ErrorCode)
		}
		return text
	}
	list := func(states, types []string) string {
		request := kmsg.NewPtrListGroupsRequest()
		request.StatesFilter, request.TypesFilter = states, types
		for _, each := range ask[*kmsg.ListGroupsResponse](w, request, 5).Groups {
			if each.Group == group {
				return each.GroupState + "/" + each.GroupType + "/" + each.ProtocolType
			}
		}
		return "not listed"
	}
	results := []string{"absent=" + describe(group), "delete_absent=" + remove(group), "forget_absent=" + forget(0)}
	member := enter(w, group, 9)
	results = append(results, "joined="+describe(group), "list="+list(nil, nil))
	ask[*kmsg.SyncGroupResponse](w, syncRequest(group, member.MemberID, member.Generation, member.MemberID), 5)
	commitOffset(w, group, member.MemberID, member.Generation, topic, 0, "", 9)
	return strings.Join(append(results,
		"stable="+describe(group), "list="+list([]string{"stable"}, []string{"classic"}), "list_empty="+list([]string{"Empty"}, nil),
		"list_type="+list(nil, []string{"consumer"}), "delete="+remove(group), "forget="+forget(0),
		"leave="+leave(w, group, member.MemberID, nil, 5), "empty="+describe(group), "forget_now="+forget(0),
		"forget_again="+forget(0), "forget_partition="+forget(7), "delete_now="+remove(group), "gone="+describe(group)), " ")
})

var _ = add("offset_fetch_of_all_kinds", func(b *broker) string {
	group, topic := b.name("offset-fetch"), b.topic("offset-fetch", 3)
	w := b.wire()
	defer w.close()
	enter(w, b.name("other"), 9)
	commitOffset(w, group, "", -1, topic, 1, "note", 9)
	get := func(group string, all bool, at int16) string {
		request := kmsg.NewPtrOffsetFetchRequest()
		of := kmsg.NewOffsetFetchRequestGroup()
		of.Group, of.MemberEpoch = group, -1
		request.Group = group
		if !all {
			old := kmsg.NewOffsetFetchRequestTopic()
			old.Topic, old.Partitions = topic, []int32{0, 1, 9}
			request.Topics = append(request.Topics, old)
			part := kmsg.NewOffsetFetchRequestGroupTopic()
			part.Topic, part.Partitions = topic, []int32{0, 1, 9}
			if at >= 10 {
				part.TopicID = b.topicID(topic)
			}
			of.Topics = append(of.Topics, part)
		}
		request.Groups = append(request.Groups, of)
		answer := ask[*kmsg.OffsetFetchResponse](w, request, at)
		text := ""
		if at < 8 {
			text = coded(answer.ErrorCode)
		}
		for _, each := range answer.Topics {
			for _, part := range each.Partitions {
				text += fmt.Sprintf(",%d@%d/%s/%s", part.Partition, part.Offset, *part.Metadata, coded(part.ErrorCode))
			}
		}
		for _, group := range answer.Groups {
			text += coded(group.ErrorCode)
			for _, each := range group.Topics {
				for _, part := range each.Partitions {
					text += fmt.Sprintf(",%d@%d/%s/%s", part.Partition, part.Offset, *part.Metadata, coded(part.ErrorCode))
				}
			}
		}
		return text
	}
	var results []string
	for _, at := range []int16{5, 7, 8, 9, 10} {
		results = append(results, fmt.Sprintf("v%d=%s all=%s", at, get(group, false, at), get(group, true, at)))
	}
	return strings.Join(append(results, "absent="+get(b.name("absent"), true, 9)), " ")
})
