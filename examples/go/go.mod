module nsjoin

go 1.19
