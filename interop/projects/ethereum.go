package projects

import (
	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/accounts/abi/bind"
)

//protect:limit 25/s wait=2s
//protect:breaker failures=5
//protect:timeout 5s
type Contract interface{ bind.ContractBackend }

//protect:retry 5 backoff=1s max=10s
type Deploy interface{ bind.DeployBackend }

//protect:breaker failures=5
type Chain interface{ ethereum.ChainReader }
