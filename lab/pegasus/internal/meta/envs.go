package meta

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Operations on a table's environment (facts/pegasus.md §5.7).
const (
	EnvSet   int32 = 1
	EnvDel   int32 = 2
	EnvClear int32 = 3
)

// EnvChange is one change of a table's environment.
type EnvChange struct {
	Table        string
	Op           int32
	Keys, Values []string
	Prefix       string // EnvClear: only keys "prefix.…"; "" means all
}

// ChangeEnvs carries c out.
func (s *State) ChangeEnvs(ctx context.Context, c EnvChange) (code, hint string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.byName(c.Table)
	if t == nil {
		return "ERR_INVALID_PARAMETERS", "invalid app name"
	}
	next := t.snapshot()
	switch c.Op {
	case EnvSet:
		if len(c.Keys) != len(c.Values) || len(c.Keys) == 0 {
			return "ERR_INVALID_PARAMETERS", ""
		}
		for i, k := range c.Keys {
			if hint := badEnv(k, c.Values[i]); hint != "" {
				return "ERR_INVALID_PARAMETERS", hint
			}
			next.Envs[k] = c.Values[i]
		}
	case EnvDel:
		hint = removed(next.Envs, c.Keys)
	case EnvClear:
		hint = cleared(next.Envs, c.Prefix)
	default:
		return "ERR_INVALID_PARAMETERS", "recv a invalid update_app_env request with op = APP_ENV_OP_INVALID"
	}
	if err := s.Store.SetTable(ctx, next); err != nil {
		return "ERR_ZOOKEEPER_OPERATION", ""
	}
	t.Table = next
	return OK, hint
}

// badEnv is why a table cannot have an environment value, "" if it can.
func badEnv(key, value string) string {
	switch key {
	case "replica.slow_query_threshold":
		if n, err := strconv.ParseInt(value, 10, 64); err != nil || n < 20 {
			return "Slow query threshold must be >= 20ms"
		}
	case "default_ttl", "rocksdb.usage_scenario", "rocksdb.allow_ingest_behind", "replica.deny_client_request",
		"replica.write_throttling", "replica.write_throttling_by_size", "replica.read_throttling",
		"replica.rocksdb_iteration_threshold_time_ms", "rocksdb.checkpoint.reserve_min_count",
		"rocksdb.checkpoint.reserve_time_seconds", "rocksdb.block_cache_enabled", "business.info",
		"manual_compact.disabled", "manual_compact.max_concurrent_running_count",
		"manual_compact.once.trigger_time", "manual_compact.once.target_level",
		"manual_compact.once.bottommost_level_compaction", "manual_compact.periodic.trigger_time",
		"manual_compact.periodic.target_level", "manual_compact.periodic.bottommost_level_compaction",
		"user_specified_compaction", "validate_partition_hash", "replica.split.validate_partition_hash":
	default:
		return fmt.Sprintf("app_env \"%s\" is not supported", key)
	}
	return ""
}

func removed(envs map[string]string, keys []string) string {
	var gone []string
	for _, k := range keys {
		if _, ok := envs[k]; ok {
			delete(envs, k)
			gone = append(gone, k)
		}
	}
	return listed(gone)
}

func cleared(envs map[string]string, prefix string) string {
	var gone []string
	for _, k := range slices.Sorted(maps.Keys(envs)) {
		if prefix == "" || strings.HasPrefix(k, prefix+".") {
			delete(envs, k)
			gone = append(gone, k)
		}
	}
	return listed(gone)
}

func listed(keys []string) string {
	if len(keys) == 0 {
		return "no key need to delete"
	}
	return "deleted keys:\n    " + strings.Join(keys, "\n    ")
}
