// Package v20170312 has those names of Tencent Cloud's SDK that Flannel refers to.
// Every call is refused.
package v20170312

import "errors"

var errNone = errors.New("this flanneld is built without Tencent Cloud")

type (
	Filter struct {
		Name   *string
		Values []*string
	}
	Route struct {
		DestinationCidrBlock, GatewayType, GatewayId, RouteType *string
		Enabled                                                 *bool
		RouteId                                                 *uint64
	}
	RouteTable struct {
		RouteTableId *string
		RouteSet     []*Route
	}
	DescribeRouteTablesRequest  struct{ Filters []*Filter }
	DescribeRouteTablesResponse struct {
		Response *struct{ RouteTableSet []*RouteTable }
	}
	RoutesRequest struct {
		RouteTableId *string
		Routes       []*Route
	}
	Client struct{}
)

func NewClientWithSecretId(id, key, region string) (*Client, error) { return nil, errNone }

func NewDescribeRouteTablesRequest() *DescribeRouteTablesRequest {
	return &DescribeRouteTablesRequest{}
}

func NewCreateRoutesRequest() *RoutesRequest { return &RoutesRequest{} }

func NewDeleteRoutesRequest() *RoutesRequest { return &RoutesRequest{} }

func (*Client) DescribeRouteTables(*DescribeRouteTablesRequest) (*DescribeRouteTablesResponse, error) {
	return nil, errNone
}

func (*Client) CreateRoutes(*RoutesRequest) (any, error) { return nil, errNone }

func (*Client) DeleteRoutes(*RoutesRequest) (any, error) { return nil, errNone }
