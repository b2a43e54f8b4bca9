package main

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (w *wire) advertised() *kmsg.ApiVersionsResponse {
	request := kmsg.NewPtrApiVersionsRequest()
	request.ClientSoftwareName, request.ClientSoftwareVersion = "clients", "1"
	return ask[*kmsg.ApiVersionsResponse](w, request, 3)
}

// sweep asks one thing in every version that the broker advertises and says which versions answer alike.
func sweep(key kmsg.Key, one func(b *broker, w *wire, version int16) string) bool {
	return add("versions_"+strings.ToLower(key.Name()), func(b *broker) string {
		w := b.wire()
		defer w.close()
		for _, api := range w.advertised().ApiKeys {
			if api.ApiKey != key.Int16() {
				continue
			}
			var texts []string
			var last string
			from := api.MinVersion
			// Produce 0 to 2 are advertised for the sake of old librdkafka alone.
			if key == kmsg.Produce {
				from = 3
			}
			for at, first := from, from; at <= api.MaxVersion; at++ {
				text := one(b, w, at)
				if text == last {
					texts[len(texts)-1] = fmt.Sprintf("%d-%d:%s", first, at, text)
				} else {
					texts, first, last = append(texts, fmt.Sprintf("%d:%s", at, text)), at, text
				}
			}
			return strings.Join(texts, " ")
		}
		return "not advertised"
	})
}

var _ = add("advertised_apis", func(b *broker) string {
	w := b.wire()
	defer w.close()
	var texts []string
	for _, api := range w.advertised().ApiKeys {
		texts = append(texts, fmt.Sprintf("%s=%d-%d", kmsg.NameForKey(api.ApiKey), api.MinVersion, api.MaxVersion))
	}
	return strings.Join(texts, " ")
})

var _ = add("advertised_features", func(b *broker) string {
	w := b.wire()
	defer w.close()
	level := "none"
	for _, feature := range w.advertised().FinalizedFeatures {
		if feature.Name == "transaction.version" {
			level = fmt.Sprint(feature.MaxVersionLevel)
		}
	}
	return "transaction.version=" + level
})

var _ = sweep(kmsg.ApiVersions, func(_ *broker, w *wire, at int16) string {
	request := kmsg.NewPtrApiVersionsRequest()
	request.ClientSoftwareName, request.ClientSoftwareVersion = "clients", "1"
	answer := ask[*kmsg.ApiVersionsResponse](w, request, at)
	return fmt.Sprint(coded(answer.ErrorCode), ",", len(answer.ApiKeys) > 0)
})

// existing is a topic that a sweep makes once.
func existing(b *broker, what string) string {
	topic := b.name(what)
	if found, err := b.admin.ListTopics(seconds(10), topic); err == nil && found.Has(topic) && found[topic].Err == nil {
		return topic
	}
	topic = b.topic(what, 1)
	b.send(topic, "1", "2", "3")
	return topic
}

var _ = sweep(kmsg.Metadata, func(b *broker, w *wire, at int16) string {
	topic := existing(b, "v-metadata")
	get := func(topics ...string) string {
		request := kmsg.NewPtrMetadataRequest()
		if topics == nil && at == 0 {
			request.Topics = []kmsg.MetadataRequestTopic{}
		}
		for _, each := range topics {
			of := kmsg.NewMetadataRequestTopic()
			of.Topic = kmsg.StringPtr(each)
			request.Topics = append(request.Topics, of)
		}
		answer := ask[*kmsg.MetadataResponse](w, request, at)
		text := fmt.Sprintf("brokers=%d", len(answer.Brokers))
		for _, each := range answer.Topics {
			if *each.Topic == topic || len(topics) > 0 {
				text += fmt.Sprintf(",%s/%d", coded(each.ErrorCode), len(each.Partitions))
			}
		}
		return text
	}
	return get(topic) + ";" + get(b.name("absent")) + ";" + get()
})

var _ = sweep(kmsg.Produce, func(b *broker, w *wire, at int16) string {
	topic := existing(b, "v-produce")
	answer := w.produce(topic, batch(nil, pair{"k", "v"}), version(at), func(request *kmsg.ProduceRequest) {
		if at >= 13 {
			request.Topics[0].Topic, request.Topics[0].TopicID = "", b.topicID(topic)
		}
	})
	return coded(answer.ErrorCode)
})

var _ = sweep(kmsg.Fetch, func(b *broker, w *wire, at int16) string {
	topic := existing(b, "v-fetch")
	return fetched(ask[*kmsg.FetchResponse](w, fetchRequest(b.topicID(topic), topic, 0, 1), at))
})

var _ = sweep(kmsg.ListOffsets, func(b *broker, w *wire, at int16) string {
	request := kmsg.NewPtrListOffsetsRequest()
	request.ReplicaID = -1
	of := kmsg.NewListOffsetsRequestTopic()
	of.Topic = existing(b, "v-offsets")
	part := kmsg.NewListOffsetsRequestTopicPartition()
	part.Timestamp, part.CurrentLeaderEpoch = -1, -1
	of.Partitions = append(of.Partitions, part)
	request.Topics = append(request.Topics, of)
	got := ask[*kmsg.ListOffsetsResponse](w, request, at).Topics[0].Partitions[0]
	return fmt.Sprint(coded(got.ErrorCode), "@", got.Offset)
})

var _ = sweep(kmsg.OffsetForLeaderEpoch, func(b *broker, w *wire, at int16) string {
	request := kmsg.NewPtrOffsetForLeaderEpochRequest()
	request.ReplicaID = -1
	of := kmsg.NewOffsetForLeaderEpochRequestTopic()
	of.Topic = existing(b, "v-epoch")
	part := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	part.CurrentLeaderEpoch = -1
	of.Partitions = append(of.Partitions, part)
	request.Topics = append(request.Topics, of)
	got := ask[*kmsg.OffsetForLeaderEpochResponse](w, request, at).Topics[0].Partitions[0]
	return fmt.Sprint(coded(got.ErrorCode), "@", got.EndOffset)
})

var _ = sweep(kmsg.FindCoordinator, func(b *broker, w *wire, at int16) string {
	request := kmsg.NewPtrFindCoordinatorRequest()
	request.CoordinatorKey, request.CoordinatorKeys = b.name("v-find"), []string{b.name("v-find"), ""}
	var text string
	eventually("the coordinator", 20, func() bool {
		answer := ask[*kmsg.FindCoordinatorResponse](w, request, at)
		if at < 4 {
			text = fmt.Sprintf("%s/node=%d", coded(answer.ErrorCode), answer.NodeID)
		} else {
			text = fmt.Sprintf("%s/node=%d", coded(answer.Coordinators[0].ErrorCode), answer.Coordinators[0].NodeID)
		}
		return !strings.HasPrefix(text, "COORDINATOR")
	})
	return text
})

// One cycle of a member goes through the versions of four requests together.
var _ = sweep(kmsg.JoinGroup, func(b *broker, w *wire, at int16) string {
	group := b.name(fmt.Sprint("v-join-", at))
	member := enter(w, group, at)
	share := ask[*kmsg.SyncGroupResponse](w, syncRequest(group, member.MemberID, member.Generation, member.MemberID), min(at, 5))
	return fmt.Sprintf("generation=%d,leader=%v,members=%d sync=%s,%s beat=%s leave=%s", member.Generation,
		member.LeaderID == member.MemberID, len(member.Members), coded(share.ErrorCode), share.MemberAssignment,
		beat(w, group, member.MemberID, member.Generation, nil, min(at, 4)), leave(w, group, member.MemberID, nil, min(at, 2)))
})

var _ = sweep(kmsg.LeaveGroup, func(b *broker, w *wire, at int16) string {
	return leave(w, b.name("v-leave"), "who", nil, at)
})

var _ = sweep(kmsg.OffsetCommit, func(b *broker, w *wire, at int16) string {
	topic := existing(b, "v-commit")
	request := kmsg.NewPtrOffsetCommitRequest()
	request.Group, request.Generation = b.name("v-commit"), -1
	of := kmsg.NewOffsetCommitRequestTopic()
	of.Topic = topic
	if at >= 10 {
		of.TopicID = b.topicID(topic)
	}
	part := kmsg.NewOffsetCommitRequestTopicPartition()
	part.Offset, part.Metadata = int64(at), kmsg.StringPtr("note")
	of.Partitions = append(of.Partitions, part)
	request.Topics = append(request.Topics, of)
	var text string
	eventually("the coordinator", 20, func() bool {
		text = coded(ask[*kmsg.OffsetCommitResponse](w, request, at).Topics[0].Partitions[0].ErrorCode)
		return !strings.Contains(text, "COORDINATOR")
	})
	return text
})

var _ = sweep(kmsg.DescribeGroups, func(b *broker, w *wire, at int16) string {
	request := kmsg.NewPtrDescribeGroupsRequest()
	request.Groups = []string{b.name("v-absent")}
	got := ask[*kmsg.DescribeGroupsResponse](w, request, at).Groups[0]
	return coded(got.ErrorCode) + "/" + got.State
})

var _ = sweep(kmsg.ListGroups, func(_ *broker, w *wire, at int16) string {
	return coded(ask[*kmsg.ListGroupsResponse](w, kmsg.NewPtrListGroupsRequest(), at).ErrorCode)
})

var _ = sweep(kmsg.DeleteGroups, func(b *broker, w *wire, at int16) string {
	request := kmsg.NewPtrDeleteGroupsRequest()
	request.Groups = []string{b.name("v-absent")}
	return coded(ask[*kmsg.DeleteGroupsResponse](w, request, at).Groups[0].ErrorCode)
})

var _ = sweep(kmsg.CreateTopics, func(b *broker, w *wire, at int16) string {
	create := func() string {
		request := kmsg.NewPtrCreateTopicsRequest()
		request.TimeoutMillis = 10_000
		of := kmsg.NewCreateTopicsRequestTopic()
		of.Topic, of.NumPartitions, of.ReplicationFactor = b.name(fmt.Sprint("v-create-", at)), 2, 1
		config := kmsg.NewCreateTopicsRequestTopicConfig()
		config.Name, config.Value = "retention.ms", kmsg.StringPtr("1234567")
		of.Configs = append(of.Configs, config)
		request.Topics = append(request.Topics, of)
		got := ask[*kmsg.CreateTopicsResponse](w, request, at).Topics[0]
		text := coded(got.ErrorCode)
		if at >= 5 && got.ErrorCode == 0 {
			for _, each := range got.Configs {
				if each.Name == "retention.ms" {
					text += fmt.Sprintf("/%d,%d,%s", got.NumPartitions, got.ReplicationFactor, *each.Value)
				}
			}
		}
		return text
	}
	return create() + "," + create()
})

var _ = sweep(kmsg.DeleteTopics, func(b *broker, w *wire, at int16) string {
	topic := existing(b, fmt.Sprint("v-delete-", at))
	remove := func() string {
		request := kmsg.NewPtrDeleteTopicsRequest()
		request.TimeoutMillis, request.TopicNames = 10_000, []string{topic}
		of := kmsg.NewDeleteTopicsRequestTopic()
		of.Topic = kmsg.StringPtr(topic)
		request.Topics = append(request.Topics, of)
		return coded(ask[*kmsg.DeleteTopicsResponse](w, request, at).Topics[0].ErrorCode)
	}
	return remove() + "," + remove()
})

var _ = sweep(kmsg.CreatePartitions, func(b *broker, w *wire, at int16) string {
	request := kmsg.NewPtrCreatePartitionsRequest()
	request.TimeoutMillis = 10_000
	of := kmsg.NewCreatePartitionsRequestTopic()
	of.Topic, of.Count = existing(b, "v-grow"), int32(at)+2
	request.Topics = append(request.Topics, of)
	return coded(ask[*kmsg.CreatePartitionsResponse](w, request, at).Topics[0].ErrorCode)
})

var _ = sweep(kmsg.DeleteRecords, func(b *broker, w *wire, at int16) string {
	request := kmsg.NewPtrDeleteRecordsRequest()
	request.TimeoutMillis = 10_000
	of := kmsg.NewDeleteRecordsRequestTopic()
	of.Topic = existing(b, "v-records")
	part := kmsg.NewDeleteRecordsRequestTopicPartition()
	part.Offset = int64(at)
	of.Partitions = append(of.Partitions, part)
	request.Topics = append(request.Topics, of)
	got := ask[*kmsg.DeleteRecordsResponse](w, request, at).Topics[0].Partitions[0]
	return fmt.Sprint(coded(got.ErrorCode), "/moved=", got.LowWatermark == int64(at))
})

var _ = sweep(kmsg.InitProducerID, func(_ *broker, w *wire, at int16) string {
	answer := initProducer(w, nil, 60_000, at)
	return fmt.Sprint(coded(answer.ErrorCode), ",", answer.ProducerID >= 0, ",", answer.ProducerEpoch)
})

var _ = sweep(kmsg.DescribeConfigs, func(b *broker, w *wire, at int16) string {
	request := kmsg.NewPtrDescribeConfigsRequest()
	of := kmsg.NewDescribeConfigsRequestResource()
	of.ResourceType, of.ResourceName, of.ConfigNames = kmsg.ConfigResourceTypeTopic, existing(b, "v-configs"), []string{"segment.ms"}
	request.Resources = append(request.Resources, of)
	got := ask[*kmsg.DescribeConfigsResponse](w, request, at).Resources[0]
	text := coded(got.ErrorCode)
	for _, each := range got.Configs {
		text += fmt.Sprintf("/%s=%s", each.Name, *each.Value)
	}
	return text
})

var _ = sweep(kmsg.IncrementalAlterConfigs, func(b *broker, w *wire, at int16) string {
	request := kmsg.NewPtrIncrementalAlterConfigsRequest()
	of := kmsg.NewIncrementalAlterConfigsRequestResource()
	of.ResourceType, of.ResourceName = kmsg.ConfigResourceTypeTopic, existing(b, "v-configs-more")
	config := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	config.Name, config.Value = "retention.ms", kmsg.StringPtr("555555")
	of.Configs = append(of.Configs, config)
	request.Resources = append(request.Resources, of)
	return coded(ask[*kmsg.IncrementalAlterConfigsResponse](w, request, at).Resources[0].ErrorCode)
})

var _ = sweep(kmsg.AlterConfigs, func(b *broker, w *wire, at int16) string {
	request := kmsg.NewPtrAlterConfigsRequest()
	of := kmsg.NewAlterConfigsRequestResource()
	of.ResourceType, of.ResourceName = kmsg.ConfigResourceTypeTopic, existing(b, "v-configs-old")
	config := kmsg.NewAlterConfigsRequestResourceConfig()
	config.Name, config.Value = "retention.ms", kmsg.StringPtr("555555")
	of.Configs = append(of.Configs, config)
	request.Resources = append(request.Resources, of)
	return coded(ask[*kmsg.AlterConfigsResponse](w, request, at).Resources[0].ErrorCode)
})

var _ = sweep(kmsg.DescribeCluster, func(_ *broker, w *wire, at int16) string {
	request := kmsg.NewPtrDescribeClusterRequest()
	request.EndpointType = 1
	answer := ask[*kmsg.DescribeClusterResponse](w, request, at)
	return fmt.Sprintf("%s,id=%d,controller=%d,brokers=%d", coded(answer.ErrorCode), len(answer.ClusterID), answer.ControllerID, len(answer.Brokers))
})

var _ = sweep(kmsg.DescribeTopicPartitions, func(b *broker, w *wire, at int16) string {
	request := kmsg.NewPtrDescribeTopicPartitionsRequest()
	request.ResponsePartitionLimit = 100
	for _, each := range []string{existing(b, "v-partitions"), b.name("absent")} {
		of := kmsg.NewDescribeTopicPartitionsRequestTopic()
		of.Topic = each
		request.Topics = append(request.Topics, of)
	}
	text := map[string]string{}
	for _, each := range ask[*kmsg.DescribeTopicPartitionsResponse](w, request, at).Topics {
		text[*each.Topic] = fmt.Sprintf("%s/%d", coded(each.ErrorCode), len(each.Partitions))
	}
	return text[request.Topics[0].Topic] + "," + text[request.Topics[1].Topic]
})

var _ = sweep(kmsg.DescribeLogDirs, func(b *broker, w *wire, at int16) string {
	topic := existing(b, "v-dirs")
	request := kmsg.NewPtrDescribeLogDirsRequest()
	of := kmsg.NewDescribeLogDirsRequestTopic()
	of.Topic, of.Partitions = topic, []int32{0}
	request.Topics = append(request.Topics, of)
	text := ""
	for _, dir := range ask[*kmsg.DescribeLogDirsResponse](w, request, at).Dirs {
		text += coded(dir.ErrorCode)
		for _, each := range dir.Topics {
			text += fmt.Sprintf("/%v,size=%v,lag=%d", each.Topic == topic, each.Partitions[0].Size > 0, each.Partitions[0].OffsetLag)
		}
	}
	return text
})

var _ = sweep(kmsg.DescribeClientQuotas, func(_ *broker, w *wire, at int16) string {
	return coded(ask[*kmsg.DescribeClientQuotasResponse](w, kmsg.NewPtrDescribeClientQuotasRequest(), at).ErrorCode)
})

var _ = sweep(kmsg.ElectLeaders, func(b *broker, w *wire, at int16) string {
	request := kmsg.NewPtrElectLeadersRequest()
	request.TimeoutMillis = 10_000
	of := kmsg.NewElectLeadersRequestTopic()
	of.Topic, of.Partitions = existing(b, "v-elect"), []int32{0}
	request.Topics = append(request.Topics, of)
	return coded(ask[*kmsg.ElectLeadersResponse](w, request, at).Topics[0].Partitions[0].ErrorCode)
})
