// Package policyfile reads policies from a YAML or JSON file and keeps those
// of a running program in step with it.
//
// A file is a mapping from policy keys to policies, with the names that the
// directives use:
//
//	weather.Weather.Forecast:
//	  timeout: 2s
//	  limit: 100/1m                    # or {tokens: 100, window: 1m, wait: 1s, onerror: allow}
//	  breaker: {failures: 5, recovery: 30s}
//	  retry: 3                         # or {attempts: 3, backoff: 100ms, max: 2s}
//	weather.Weather.Alerts:
//	  breaker: {rate: 50%, of: 20, within: 10s}
//	  bulkhead: 10                     # or {max: 10, wait: 1s}
//	  pool: {size: 10, overflow: 5, wait: forever}
//
// and the program that follows it says
//
//	w, err := policyfile.Watch(ctx, rt, "policies.yaml",
//		policyfile.OnError(func(err error) { log.Print("policies stay as they are: ", err) }))
//	if err != nil {
//		return err
//	}
//	defer w.Close()
//
// A policy replaces that of the key's directives as a whole: a section that is
// left out is a layer that is not there, and {} is no protection at all. What
// is a function (scale, failure, when) stays with the directives.
//
// Reading is strict. Every mistake is reported as file:line:col, all of them in
// one go, and a file with a mistake has no effect:
//
//   - unknown fields, keys that stand twice, and fields without a value;
//   - durations without a unit (30, where 30s is meant), numbers in quotes, in
//     another base or out of range, and an explicit 0 where leaving the field
//     out is what it would mean;
//   - texts without quotes that go on in the next line, and names with characters
//     that do not show, such as a no-break space;
//   - what the policy itself refuses: see [protect.Policy.Validate];
//   - anchors, aliases, merge keys and tags, a second document, a file without
//     any policy, and one of more than 1 MiB.
//
// The package is not for secrets or for settings of other kinds, and not for
// policies that several files share: a key belongs to one file.
package policyfile
