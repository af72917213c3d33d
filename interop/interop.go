// Package interop wraps interfaces that Go programs hold, those of well-known
// libraries, to show that what comes of them compiles and implements them.
package interop

//go:generate go tool protectgen

import (
	"database/sql/driver"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/ethereum/go-ethereum/accounts/abi/bind"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"github.com/spf13/afero"
	"github.com/uptrace/bun"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.temporal.io/sdk/client"
	"google.golang.org/grpc"
	"gorm.io/gorm"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

//protect:limit 100/s
//protect:breaker failures=5
type Pods interface{ typedcorev1.PodInterface }

//protect:wrap
type Clientset interface{ kubernetes.Interface }

//protect:breaker failures=5
type Redis interface{ redis.UniversalClient }

//protect:breaker failures=5
//protect:timeout 2s
type Tx interface{ pgx.Tx }

//protect:breaker failures=5
type Conn interface{ grpc.ClientConnInterface }

//protect:breaker failures=5
type Stream interface{ grpc.ClientStream }

//protect:breaker failures=5
type KV interface{ clientv3.KV }

//protect:breaker failures=5
type Contract interface{ bind.ContractBackend }

//protect:breaker failures=5
type Lister interface{ s3.ListObjectsV2APIClient }

//protect:breaker failures=5
type Header interface{ s3.HeadObjectAPIClient }

//protect:breaker failures=5
type Temporal interface{ client.Client }

//protect:breaker failures=5
type JetStream interface{ jetstream.JetStream }

//protect:breaker failures=5
type DriverConn interface{ driver.Conn }

//protect:breaker failures=5
type Queryer interface{ driver.QueryerContext }

//protect:breaker failures=5
type Fs interface{ afero.Fs }

//protect:breaker failures=5
type File interface{ afero.File }

//protect:breaker failures=5
type GormPool interface{ gorm.ConnPool }

//protect:breaker failures=5
type Dialector interface{ gorm.Dialector }

//protect:breaker failures=5
type Bun interface{ bun.IDB }

// Pooled: each call runs on a borrowed transaction's connection.
//
//protect:pool size=2
//protect:breaker failures=5
type PooledKV interface {
	driver.ExecerContext
}
