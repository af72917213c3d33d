package projects

import "github.com/aws/aws-sdk-go-v2/service/s3"

// The SDK has an interface a call; clients combine them.

//protect:breaker failures=5
//protect:retry 3
type ObjectLister interface{ s3.ListObjectsV2APIClient }

//protect:limit 100/s
type ObjectHeader interface{ s3.HeadObjectAPIClient }

//protect:timeout 2s
type BucketHeader interface{ s3.HeadBucketAPIClient }

//protect:breaker failures=5
type S3 interface {
	s3.HeadBucketAPIClient
	s3.HeadObjectAPIClient
	s3.ListBucketsAPIClient
	s3.ListObjectsV2APIClient
	s3.ListObjectVersionsAPIClient
	s3.ListPartsAPIClient
}

//protect:bulkhead 8
type Presigner interface{ s3.HTTPPresignerV4 }
