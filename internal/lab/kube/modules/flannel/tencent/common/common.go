// Package common has those names of Tencent Cloud's SDK that Flannel refers to.
package common

func StringPtr(s string) *string { return &s }

func BoolPtr(b bool) *bool { return &b }

func StringPtrs(list []string) (pointers []*string) {
	for i := range list {
		pointers = append(pointers, &list[i])
	}
	return pointers
}
