module mokv/tests/kubernetes/api

go 1.22
