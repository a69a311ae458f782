package notes

var security []Note
