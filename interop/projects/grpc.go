package projects

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
)

// Clients that the compiler of protocol buffers wrote, with calls and with
// streams of each kind, and what they stand on.

//protect:limit 100/s
//protect:breaker failures=5
//protect:retry 3 backoff=50ms
type Conn interface{ grpc.ClientConnInterface }

//protect:breaker failures=5
type Stream interface{ grpc.ClientStream }

//protect:breaker failures=5
//protect:timeout 1s
type Health interface{ grpc_health_v1.HealthClient }

//protect:limit 10/s
type HealthWatch interface {
	grpc_health_v1.Health_WatchClient
}

//protect:bulkhead 100
type HealthServer interface{ grpc_health_v1.HealthServer }

//protect:breaker failures=5
type Reflection interface {
	grpc_reflection_v1.ServerReflectionClient
}

//protect:breaker failures=5
//protect:limit 50/s
type Streams interface{ grpc_testing.TestServiceClient }

//protect:breaker failures=5
type Up[Req, Res any] interface {
	grpc.ClientStreamingClient[Req, Res]
}

//protect:breaker failures=5
type Both[Req, Res any] interface {
	grpc.BidiStreamingClient[Req, Res]
}
