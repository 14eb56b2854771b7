// Package errors has those names of Tencent Cloud's SDK that Flannel refers to.
package errors

// TencentCloudSDKError never happens.
type TencentCloudSDKError struct{}

func (*TencentCloudSDKError) Error() string { return "no Tencent Cloud here" }
