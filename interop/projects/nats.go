package projects

import (
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

//protect:breaker failures=5
type JetStream interface{ jetstream.JetStream }

//protect:limit 500/s
//protect:retry 2
type Publisher interface{ jetstream.Publisher }

//protect:breaker failures=5
type Consumer interface{ jetstream.Consumer }

//protect:timeout 2s
type Buckets interface{ jetstream.KeyValue }

//protect:bulkhead 16
type OldJetStream interface{ nats.JetStreamContext }
