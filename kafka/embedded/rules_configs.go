package embedded

import (
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// checkTopicConfig says why a topic configuration is refused; nil: it is not.
// kfake takes any text for any key. Refused is what would lose data
// (compaction), what kfake reads as zero (a retention that is no number), and
// what it would silently not do. A null value means the default.
func checkTopicConfig(name string, value *string) *string {
	if value == nil {
		return nil
	}
	v := *value
	switch name {
	case "cleanup.policy":
		return oneOf(name, v, "delete")
	case "message.timestamp.type":
		return oneOf(name, v, "CreateTime", timestampAppend)
	case "compression.type":
		return oneOf(name, v, "producer")
	case "unclean.leader.election.enable":
		return oneOf(name, v, "false")
	case "retention.ms":
		if v == "-1" {
			return nil
		}
		return number(name, v, 1, 1<<62)
	case "retention.bytes":
		if v != "-1" {
			return reason("retention.bytes is not supported by the embedded broker: leave it -1 and use retention.ms")
		}
		return nil
	case "segment.bytes":
		return number(name, v, 64<<10, 1<<30)
	case "segment.ms":
		return number(name, v, 1, 1<<62)
	case "max.message.bytes":
		return number(name, v, 1<<10, maxBatchBytes)
	case "min.insync.replicas":
		return number(name, v, 1, 16)
	}
	return reason("%q is not a topic configuration that the embedded broker supports", name)
}

const timestampAppend = "LogAppendTime"

func oneOf(name, v string, allowed ...string) *string {
	if slices.Contains(allowed, v) {
		return nil
	}
	return reason("%s=%q: the embedded broker supports %q", name, v, allowed)
}

func number(name, v string, low, high int64) *string {
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < low || n > high {
		return reason("%s=%q: give a number from %d to %d", name, v, low, high)
	}
	return nil
}

// checkResource looks at what a request wants to configure. Only topics can be
// configured: the broker's own settings are part of what keeps its data.
func (r *rules) checkResource(kind kmsg.ConfigResourceType, name string, outside bool) (code int16, why *string) {
	if kind != kmsg.ConfigResourceTypeTopic {
		return kerr.ClusterAuthorizationFailed.Code,
			reason("only topics of the embedded broker can be configured; its own settings are maru's")
	}
	if r.sealed(name, outside) {
		return kerr.TopicAuthorizationFailed.Code, r.sealedReason(name)
	}
	return 0, nil
}

func (r *rules) alterConfigs(req *kmsg.AlterConfigsRequest, outside bool) verdict {
	resp := req.ResponseKind().(*kmsg.AlterConfigsResponse)
	kept := req.Resources[:0]
	for _, res := range req.Resources {
		code, why := r.checkResource(res.ResourceType, res.ResourceName, outside)
		for i := 0; code == 0 && i < len(res.Configs); i++ {
			if why = checkTopicConfig(res.Configs[i].Name, res.Configs[i].Value); why != nil {
				code = kerr.InvalidConfig.Code
			}
		}
		if code == 0 {
			kept = append(kept, res)
			continue
		}
		rr := kmsg.NewAlterConfigsResponseResource()
		rr.ResourceType, rr.ResourceName, rr.ErrorCode, rr.ErrorMessage = res.ResourceType, res.ResourceName, code, why
		resp.Resources = append(resp.Resources, rr)
	}
	req.Resources = kept
	if len(kept) == 0 {
		return verdict{answer: resp}
	}
	return verdict{forward: true, amend: func(done kmsg.Response) {
		d := done.(*kmsg.AlterConfigsResponse)
		for _, res := range d.Resources {
			r.catalog.refresh(res.ResourceName)
		}
		d.Resources = append(d.Resources, resp.Resources...)
	}}
}

func (r *rules) incrementalAlterConfigs(req *kmsg.IncrementalAlterConfigsRequest, outside bool) verdict {
	resp := req.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
	kept := req.Resources[:0]
	for _, res := range req.Resources {
		code, why := r.checkResource(res.ResourceType, res.ResourceName, outside)
		for i := 0; code == 0 && i < len(res.Configs); i++ {
			c := res.Configs[i]
			switch c.Op {
			case kmsg.IncrementalAlterConfigOpDelete:
			case kmsg.IncrementalAlterConfigOpSet:
				why = checkTopicConfig(c.Name, c.Value)
			default: // APPEND to cleanup.policy is one more way to compact
				why = reason("%s: use SET, the embedded broker has no topic configuration that is a list", c.Name)
			}
			if why != nil {
				code = kerr.InvalidConfig.Code
			}
		}
		if code == 0 {
			kept = append(kept, res)
			continue
		}
		rr := kmsg.NewIncrementalAlterConfigsResponseResource()
		rr.ResourceType, rr.ResourceName, rr.ErrorCode, rr.ErrorMessage = res.ResourceType, res.ResourceName, code, why
		resp.Resources = append(resp.Resources, rr)
	}
	req.Resources = kept
	if len(kept) == 0 {
		return verdict{answer: resp}
	}
	return verdict{forward: true, amend: func(done kmsg.Response) {
		d := done.(*kmsg.IncrementalAlterConfigsResponse)
		for _, res := range d.Resources {
			r.catalog.refresh(res.ResourceName)
		}
		d.Resources = append(d.Resources, resp.Resources...)
	}}
}
