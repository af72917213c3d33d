package projects

import (
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
)

//protect:breaker failures=5
//protect:timeout 10s
type Temporal interface{ client.Client }

// What its methods have to do with is in a package that is internal to the SDK.
//
//protect:wrap
type Schedules interface{ client.ScheduleClient }

//protect:breaker failures=5
type WorkflowService interface {
	workflowservice.WorkflowServiceClient
}
