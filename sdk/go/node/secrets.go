package node

import (
	"encoding/json"
	"sort"
	"strconv"
	"strings"

	pb "lanemesh/sdk/go/lanemeshv1"
)

const hidden = "***"

// secrets are the secret values of the configs of a run. They are removed from all that the server reports.
type secrets []string

// secretsOf reads the values to which the JSON pointers (RFC 6901) of the instances point.
func secretsOf(instances []*pb.Instance) secrets {
	var found secrets
	for _, instance := range instances {
		var config interface{}
		if len(instance.GetSecretPointers()) == 0 || json.Unmarshal([]byte(instance.GetConfigJson()), &config) != nil {
			continue
		}
		for _, pointer := range instance.GetSecretPointers() {
			found = collect(at(config, pointer), found)
		}
	}
	sort.Slice(found, func(i, j int) bool { return len(found[i]) > len(found[j]) }) // a secret may contain another one
	return found
}

func at(value interface{}, pointer string) interface{} {
	for _, part := range strings.Split(pointer, "/")[1:] {
		part = strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~")
		switch inner := value.(type) {
		case map[string]interface{}:
			value = inner[part]
		case []interface{}:
			index, err := strconv.Atoi(part)
			if err != nil || index < 0 || index >= len(inner) {
				return nil
			}
			value = inner[index]
		default:
			return nil
		}
	}
	return value
}

func collect(value interface{}, found secrets) secrets {
	switch value := value.(type) {
	case string:
		if value != "" {
			found = append(found, value)
		}
	case map[string]interface{}:
		for _, inner := range value {
			found = collect(inner, found)
		}
	case []interface{}:
		for _, inner := range value {
			found = collect(inner, found)
		}
	}
	return found
}

// hide returns a text without the secrets.
func (s secrets) hide(text string) string {
	for _, secret := range s {
		text = strings.ReplaceAll(text, secret, hidden)
	}
	return text
}
