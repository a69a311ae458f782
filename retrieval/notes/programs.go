package notes

var programs []Note
