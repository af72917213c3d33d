package projects

import clientv3 "go.etcd.io/etcd/client/v3"

//protect:breaker failures=5
//protect:timeout 3s
type KV interface{ clientv3.KV }

//protect:retry 3
type Lease interface{ clientv3.Lease }

//protect:limit 10/s
type Watcher interface{ clientv3.Watcher }

//protect:bulkhead 1
type Maintenance interface{ clientv3.Maintenance }
