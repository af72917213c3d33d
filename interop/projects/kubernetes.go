package projects

import (
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

//protect:limit 100/s wait=1s
//protect:breaker failures=5
//protect:timeout 10s
type Pods interface{ typedcorev1.PodInterface }

//protect:breaker rate=50% of=20 within=10s
//protect:retry 3
type Secrets interface{ typedcorev1.SecretInterface }

//protect:wrap
type Clientset interface{ kubernetes.Interface }

//protect:bulkhead 4 wait=1s
//protect:timeout 30s
type Resource interface{ dynamic.ResourceInterface }

//protect:breaker failures=3
type Discovery interface{ discovery.DiscoveryInterface }
